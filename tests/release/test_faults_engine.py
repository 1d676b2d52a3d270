"""The container engine of a host stops, is killed, or cannot pull, while a version is live and while a release is under way."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from demo.traffic import Tally
from tests.release.engine import ContainerHost, Engine
from tests.release.local import until
from tests.release.whole_host import MODEL, SERVER, WholeHost, a_whole_host, tally_sentence, watched

pytestmark = pytest.mark.integration
AWAY_S, CALM_S = 2.0, 1.0
BACK_WITHIN_S = 30


def terminate(engine: Engine) -> None:
    engine.stop()


def kill(engine: Engine) -> None:
    engine._process.kill()
    engine._process.wait()


@pytest.fixture(scope="module")
def whole(container_host: ContainerHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeHost]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DOCKER_HOST", container_host.engine.address)
        own = ContainerHost(container_host.engine, container_host.registry, tmp_path_factory.mktemp("faults"), SERVER)
        with a_whole_host(own) as whole, whole.controlled():
            whole.put_live(whole.image(1))
            yield whole
        container_host.engine.remove_all()


def away(whole: WholeHost, end) -> float:
    """How long the host was without its engine."""
    began, engine = time.monotonic(), whole.makes.engine
    end(engine)
    time.sleep(AWAY_S)
    engine.start()
    return time.monotonic() - began


@pytest.mark.parametrize("end", [terminate, kill])
def test_what_is_live_is_live_again_when_the_engine_is_back(whole, end):
    before = whole.ledger.last(MODEL)
    with whole.traffic(per_second=50) as tally:
        outage = away(whole, end)
        back = time.monotonic()
        until(lambda: whole.is_whole() and answers_all(tally), "all is right again", seconds=BACK_WITHIN_S)
        right_after = time.monotonic() - back - CALM_S
    print(tally_sentence(f"engine away for {outage:.1f} s ({end.__name__}), all right {right_after:.1f} s after its return", tally))
    assert whole.ledger.last(MODEL) == before


def test_a_release_ends_whole_when_the_engine_goes_away_in_the_middle_of_it(whole):
    old = whole.ledger.champion(MODEL)
    new = whole.image(2, seconds=0.001)
    assert whole.ended("check", new).done
    with whole.traffic(per_second=50) as tally, watched(whole) as strange:
        request = whole.ask("release", new, hold=timedelta(seconds=5), max_hold=timedelta(seconds=10))
        whole.await_step(request, 10)
        away(whole, terminate)
        outcome = until(lambda: whole.ledger.outcome(MODEL, request.id), "the release has ended", seconds=120)
        until(lambda: whole.is_whole() and answers_all(tally), "all is right again", seconds=BACK_WITHIN_S)
    print(tally_sentence(f"engine gone in a release: {outcome.release.outcome}, {outcome.reason}", tally))
    assert strange == []
    assert whole.ledger.champion(MODEL) == {"released": new, "rolled_back": old}[outcome.release.outcome]
    assert [past.request for past in whole.outcomes()].count(request.id) == 1


def test_what_cannot_be_pulled_is_checked_when_the_registry_is_back_and_the_live_version_serves_on(whole):
    new, registry = whole.image(3, seconds=0.002), whole.makes.registry
    registry.stop()
    try:
        with whole.traffic(per_second=50) as tally:
            request = whole.ask("check", new)
            until(lambda: "could not be pulled" in Path(whole.log).read_text(), "the controller says that it cannot pull")
            time.sleep(AWAY_S)
            assert whole.ledger.outcome(MODEL, request.id) is None
    finally:
        registry.start()
    began = time.monotonic()
    assert until(lambda: whole.ledger.outcome(MODEL, request.id), "the check has ended").done
    print(tally_sentence(f"registry away at a pull: checked {time.monotonic() - began:.1f} s after its return", tally))
    assert tally.failures == []


def answers_all(tally: Tally) -> bool:
    """For a while now."""
    sent, failed = tally.sent, len(tally.failures)
    time.sleep(CALM_S)
    return tally.sent > sent and len(tally.failures) == failed
