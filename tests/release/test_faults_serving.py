"""What answers is killed with −9 while clients ask: servers in each step of a release, the router, and who starts them again."""

import fcntl
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.documents import Image
from tests.release.local import until
from tests.release.whole_host import LIMITS, MODEL, WholeHost, a_whole_host, tally_sentence, watched

CLIENTS = 4
KILLS = 5
BACK_WITHIN_S = 0.5
CALM_S = 0.5


@pytest.fixture(scope="module")
def whole() -> Iterator[WholeHost]:
    with a_whole_host() as whole:
        with whole.controlled():
            whole.put_live(whole.image(1))
        yield whole


def live(whole: WholeHost) -> Image:
    return whole.ledger.champion(MODEL)


def test_servers_killed_in_each_step_of_a_release_fail_only_what_they_were_answering(whole):
    old, new = live(whole), whole.image(live(whole).version + 1, seconds=0.01)
    with whole.controlled(), watched(whole) as strange:
        assert whole.ended("check", new).done
        with whole.traffic(per_second=150, clients=CLIENTS) as tally:
            request = whole.ask("release", new, max_error_rate=0.9)  # the router counts what it asks again elsewhere as failed
            for percent in LIMITS.canary:
                whole.await_step(request, percent)
                whole.kill(whole.servers(new)[0])
                whole.kill(whole.servers(old)[0])
            until(lambda: whole.ledger.outcome(MODEL, request.id), "the release has ended")
        until(whole.is_whole, "the world is what the ledger says")
    print(tally_sentence(f"2 servers killed in each of the steps {LIMITS.canary}", tally))
    assert len(tally.failures) <= CLIENTS * 2 * len(LIMITS.canary)
    assert strange == []
    assert (live(whole), whole.ledger.outcome(MODEL, request.id).release.outcome) == (new, "released")


def test_a_killed_router_is_back_at_once(whole):
    outages, lost = [], []
    for _ in range(KILLS):
        with whole.traffic(per_second=200, clients=CLIENTS) as tally:
            time.sleep(0.5)
            before, killed = whole.router_process(), time.monotonic()
            before.kill()
            until(lambda before=before: answered_by_another(whole, before.pid), "another router answers")
            outages.append(time.monotonic() - killed)
            time.sleep(CALM_S)  # what is lost is lost by now
        lost.append(len(tally.failures))
    print(f"router killed {KILLS} times: back after {', '.join(f'{s:.2f}' for s in outages)} s, lost {lost} of 200 a second")
    assert sorted(outages)[KILLS // 2] <= BACK_WITHIN_S
    until(whole.is_whole, "the world is what the ledger says")


def answered_by_another(whole: WholeHost, pid: int) -> bool:
    process = whole.router_process()
    return process is not None and process.pid != pid and whole.parts.router.seen(MODEL) == {live(whole).digest: 100}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_router_that_ends_by_itself_or_loses_its_parent_is_started_again(whole, number):
    before = whole.router_process()
    (before if number == signal.SIGTERM else before.parent()).send_signal(number)

    until(lambda: answered_by_another(whole, before.pid), "another router answers", seconds=10)


@pytest.mark.integration
def test_a_controller_that_may_not_start_for_a_while_is_not_given_up(whole):
    supervisord, log = whole.parts.target._call_supervisor, Path(whole.platform.serving.home, "logs/controller.log")
    with (log.parents[1] / "controller.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        supervisord("startProcess", "controller", False)
        until(lambda: log.exists() and log.read_text().count("another controller holds") > 4, "it was refused five times")

    until(lambda: "at least once a second" in log.read_text(), "it works", seconds=10)
    supervisord("stopProcess", "controller")
