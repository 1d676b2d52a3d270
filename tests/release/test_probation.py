"""After the release: the real controller, its world made of fakes, in simulated time."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.release.fakes import Behaviour, FakeWorld, a_request, digest_of
from tests.release.test_loop import running, whats

ONE, TWO, THREE = digest_of(1), digest_of(2), digest_of(3)
GOOD, BAD, REFUSING = Behaviour(), Behaviour(error_share=0.2), Behaviour(client_error_share=0.2)


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    """Version 2 is live and on probation for ten minutes."""
    world = FakeWorld(tmp_path)
    world.put_live(1)
    world.put_live(2, probation="10m")
    return world


def notification(world: FakeWorld) -> list[str]:
    return [entry.notification for entry in reversed(list(world.ledger.entries("late"))) if entry.notification]


def test_a_good_version_ends_its_probation_and_the_old_one_stops(world):
    assert world.alias.versions == {"late": 2}
    world.settle(300)
    assert running(world) == {ONE: 2, TWO: 2}
    world.settle(310)
    assert whats(world)[-1] == "the probation of version 2 (000000000000) is over: version 1 (000000000000) stops"
    assert (running(world), world.router.weights["late"], notification(world)) == ({TWO: 2}, {TWO: 100}, [])


@pytest.mark.parametrize(
    ("behaviour", "turns", "why"),
    [
        (BAD, 0, "requests failed; 1.00% are allowed"),
        (BAD, 500, "requests failed; 1.00% are allowed, lately"),  # not drowned in 500 s of good answers
        (Behaviour(seconds=0.08), 100, "requests took longer than 50 ms; 5 % may, lately"),
        (REFUSING, 100, "were refused as the client's error (4xx), against 0 of"),
    ],
)
def test_one_that_misbehaves_later_is_taken_back_in_seconds_and_people_hear_of_it(world, behaviour, turns, why):
    world.settle(turns)
    world.router.behaves[TWO] = behaviour
    world.settle(8)
    state = world.state()
    assert (world.router.weights["late"], world.alias.versions, state.live.version) == ({ONE: 100}, {"late": 1}, 1)
    assert world.tags.names["late", "production"] == 1
    [sentence] = notification(world)
    assert sentence.startswith("version 2 (000000000000) of late was rolled back in its probation: ")
    assert why in sentence
    assert sentence.endswith(". All traffic is on version 1 (000000000000)")
    assert [(item.image.version, item.why.endswith("(controller)")) for item in state.quarantined] == [(2, True)]
    world.settle(8)
    assert running(world) == {ONE: 2}


def test_a_few_errors_among_few_requests_are_no_evidence(world):
    world.requests_per_s = 1
    world.router.behaves[TWO] = Behaviour(error_share=1)
    world.settle(3)
    assert world.router.weights["late"] == {TWO: 100}
    world.settle(6)
    assert world.router.weights["late"] == {ONE: 100}


@pytest.mark.parametrize("failing", ["full", "unreachable"])
def test_it_is_taken_back_while_the_store_fails_and_told_afterwards(world, failing):
    setattr(world.store, failing, True)
    world.router.behaves[TWO] = BAD
    world.settle(8)
    assert world.router.weights["late"] == {ONE: 100}
    setattr(world.store, failing, False)
    world.settle(3)
    assert (world.state().live.version, [item.image.version for item in world.state().quarantined]) == (1, [2])
    (said,) = notification(world)
    assert said.startswith("changes made while the store could not be written are recorded now: ")


def test_the_next_release_waits_for_its_end_and_a_check_does_not(world):
    assert world.outcome(a_request("check", 3)).done
    world.ask(a_request("release", 3, expected_live=TWO))
    world.settle(300)
    assert (world.state().active, len(world.state().queue)) == (None, 1)
    assert world.outcome(a_request("release", 3, expected_live=TWO), turns=400).done
    assert world.state().live.version == 3


def test_what_waited_for_a_version_that_was_taken_back_is_refused(world):
    world.outcome(a_request("check", 3))
    world.ask(a_request("release", 3, expected_live=TWO))
    world.router.behaves[TWO] = BAD
    outcome = world.outcome(a_request("release", 3, expected_live=TWO))
    assert outcome.reason == (
        "version 1 (000000000000) is live, not the version that this one was compared with; compare again by clearing freeze_run"
    )


def test_silence_of_the_router_takes_nothing_back_and_does_not_end_the_probation(world):
    world.router.silent = True
    world.settle(700)
    assert (world.router.weights["late"], world.state().probation is None) == ({TWO: 100}, False)
    world.router.silent = False
    world.settle(2)
    assert world.state().probation is None


def test_a_controller_that_starts_again_goes_on_judging(world):
    world.settle(100)
    world.restart()
    world.router.behaves[TWO] = BAD
    world.settle(8)
    assert world.state().live.version == 1


def test_pinned_it_stays(world):
    world.outcome(a_request("pin"))
    world.router.behaves[TWO] = BAD
    world.settle(20)
    assert world.router.weights["late"] == {TWO: 100}


def test_a_person_goes_back_at_once_and_the_models_people_hear_who(world):
    world.ask(a_request("rollback"))
    world.settle(4)
    assert world.router.weights["late"] == {ONE: 100}
    assert notification(world) == [
        "version 2 (000000000000) of late was rolled back by ann: a test asks. All traffic is on version 1 (000000000000)"
    ]


def test_an_old_version_that_does_not_start_leaves_what_is_live_and_is_said(world):
    world.target.crash(ONE)
    world.target.damaged.add(ONE)
    world.router.behaves[TWO] = BAD
    world.settle(10)
    assert world.router.weights["late"] == {TWO: 100}
    assert notification(world)[0].startswith("version 2 (000000000000) of late could not be rolled back: blob of sha256:")


def test_a_model_that_thrashes_is_frozen(world):
    world.router.behaves = {digest_of(version): BAD for version in (2, 3, 4)}
    world.settle(8)
    for version in (3, 4):
        world.outcome(a_request("check", version))
        assert world.outcome(a_request("release", version, expected_live=ONE)).release.outcome == "rolled_back"
    assert world.state().frozen.startswith("3 rollbacks within 7 days, the last: ")
    assert notification(world)[-1].startswith("releases of late are frozen: 3 rollbacks within 7 days, the last: ")
    assert [item.image.version for item in world.state().quarantined] == [2, 3, 4]
    world.clock.now += timedelta(days=8)
    world.outcome(a_request("unfreeze"))
    world.outcome(a_request("check", 5))
    assert world.outcome(a_request("release", 5, expected_live=ONE)).done
    assert (world.state().frozen, world.state().quarantined) == ("", ())


def test_an_unsigned_image_never_starts(world):
    world.proof.unsigned.add(THREE)
    outcome = world.outcome(a_request("check", 3))
    assert (outcome.done, outcome.reason) == (False, "version 3 is signed by nobody known")
    assert THREE not in running(world)


def test_going_back_asks_for_no_signature(world):
    world.proof.unsigned |= {ONE, TWO}
    world.restart()
    assert world.outcome(a_request("rollback")).done


def test_of_two_models_one_waits_where_one_release_at_a_time_is_allowed(tmp_path):
    world = FakeWorld(tmp_path, max_parallel=1)
    versions = {"late": 1, "other": 7}
    for model, version in versions.items():
        world.outcome(a_request("check", version, model=model))
    for model, version in versions.items():
        world.ask(a_request("release", version, model=model))
    releasing = []
    for _ in range(20):
        world.reconcile()
        releasing.append([model for model in versions if world.state(model).active])
    assert max(map(len, releasing)) == 1
    assert {model: world.state(model).live.version for model in versions} == versions
