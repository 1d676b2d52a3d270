"""The controller, a real process, killed with −9 at random moments of real releases, while clients ask."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from contract.documents import Image
from demo.traffic import Tally
from tests.release.local import until
from tests.release.whole_host import MODEL, WholeHost, a_whole_host, tally_sentence, watched

pytestmark = pytest.mark.integration
LIFE_S = 1.5  # at most, once it works
LONGER = 1.1  # than the one before: what one life must do in one go, to ask all golden rows, takes long on a busy machine


@contextmanager
def killing(whole: WholeHost, chance: random.Random) -> Iterator[list[float]]:
    """A controller that is killed and started anew again and again; gives how long each one worked."""
    over, lives = threading.Event(), []

    def kill() -> None:
        while not over.is_set():
            starts = whole.starts()
            whole.start_controller()
            until(lambda starts=starts: whole.starts() > starts, "the controller works")
            lives.append(chance.uniform(0, LIFE_S) * LONGER ** len(lives))
            over.wait(lives[-1])
            whole.kill_controller()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield lives
    finally:
        over.set()
        thread.join()


def released_while_it_is_killed(whole: WholeHost, image: Image, seed: int) -> Tally:
    with whole.controlled():
        assert whole.ended("check", image).done
    with killing(whole, random.Random(seed)) as lives, watched(whole) as strange, whole.traffic() as tally:
        outcome = whole.ended("release", image)
    print(tally_sentence(f"seed {seed}: {outcome.release.outcome}, the controller was killed {len(lives)} times", tally))
    assert len(lives) > 1
    assert strange == []
    with whole.controlled():
        until(whole.is_whole, "the world is what the ledger says")
    assert [past.request for past in whole.outcomes()].count(outcome.request) == 1
    return tally


@pytest.mark.parametrize("seed", [1, 2])
def test_a_release_ends_well_and_once_however_often_the_controller_is_killed(seed):
    with a_whole_host() as whole:
        with whole.controlled():
            whole.put_live(whole.image(1))
        better = whole.image(2, seconds=0.001)

        tally = released_while_it_is_killed(whole, better, seed)

        assert tally.failures == []
        assert set(tally.versions) == {"1", "2"}
        assert whole.ledger.champion(MODEL) == better
        assert whole.mlflow.aliases == {(MODEL, "champion"): "2"}


@pytest.mark.parametrize("seed", [3])
def test_a_release_that_misbehaves_is_taken_back_however_often_the_controller_is_killed(seed):
    with a_whole_host() as whole:
        old = whole.image(1)
        with whole.controlled():
            whole.put_live(old)

        tally = released_while_it_is_killed(whole, whole.image(2, status=500), seed)

        assert {failure[:3] for failure in tally.failures} == {"500"}
        assert whole.ledger.champion(MODEL) == old
        assert whole.mlflow.aliases == {(MODEL, "champion"): "1"}
