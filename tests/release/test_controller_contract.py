"""What Airflow's side may rely on, held by the real controller in a made-up world and by its stand-in."""

from collections.abc import Callable
from pathlib import Path

import pytest

from release.ledger.entries import Outcome
from release.ledger.ledger import Ledger
from release.ledger.requests import Request
from tests.release.fake_controller import FakeController
from tests.release.fakes import Behaviour, FakeWorld, MemoryStore, a_request, digest_of

Case = tuple[Ledger, Callable[[], None]]
ONE, TWO = digest_of(1), digest_of(2)


def real(tmp_path: Path) -> Case:
    world = FakeWorld(tmp_path)
    world.router.behaves[TWO] = Behaviour(error_share=0.5)
    return world.ledger, world.reconcile


def real_with_damage(tmp_path: Path) -> Case:
    world = FakeWorld(tmp_path)
    world.target.damaged.add(ONE)
    return world.ledger, world.reconcile


def fake(tmp_path: Path, **outcomes: str) -> Case:
    controller = FakeController(MemoryStore(), **outcomes)
    return controller.ledger, controller.reconcile


def ended(case: Case, request: Request) -> Outcome:
    ledger, reconcile = case
    ledger.request(request)
    assert ledger.outcome(request.model, request.id) is None
    for _ in range(100):
        reconcile()
        if outcome := ledger.outcome(request.model, request.id):
            return outcome
    raise AssertionError(f"{request.id} has not ended")


@pytest.mark.parametrize("controller", [real, fake])
def test_a_check_and_a_release_end_well_and_leave_a_champion(controller, tmp_path):
    case = ledger, reconcile = controller(tmp_path)
    check = ended(case, a_request("check", 1))
    assert (check.done, check.check.passed, check.check.digest, check.release) == (True, True, ONE, None)
    assert ledger.champion("late") is None
    release = ended(case, a_request("release", 1))
    assert (release.done, release.release.outcome, release.release.digest, release.check) == (True, "released", ONE, None)
    assert ledger.champion("late").version == 1
    before = ledger.last("late").n
    ledger.request(a_request("release", 1))
    reconcile()
    assert ledger.last("late").n == before  # asked again, nothing is done again


@pytest.mark.parametrize("controller", [real_with_damage, lambda path: fake(path, check="damaged")])
def test_a_check_that_fails_says_why(controller, tmp_path):
    outcome = ended(controller(tmp_path), a_request("check", 1))
    assert (outcome.done, outcome.check.passed, outcome.release) == (False, False, None)
    assert outcome.reason == outcome.check.reason != ""


@pytest.mark.parametrize("controller", [real, lambda path: fake(path, release="errors")])
def test_a_release_that_is_taken_back_leaves_the_old_champion(controller, tmp_path):
    case = ledger, _ = controller(tmp_path)
    ended(case, a_request("check", 2))
    outcome = ended(case, a_request("release", 2))
    assert (outcome.done, outcome.release.outcome, outcome.release.previous) == (False, "rolled_back", None)
    assert outcome.reason == outcome.release.reason != ""
    assert ledger.champion("late") is None


@pytest.mark.parametrize("controller", [real, fake])
def test_a_release_compared_with_another_version_is_refused(controller, tmp_path):
    case = ledger, _ = controller(tmp_path)
    ended(case, a_request("check", 1))
    outcome = ended(case, a_request("release", 1, expected_live=TWO))
    assert (outcome.done, outcome.release.outcome) == (False, "refused")
    assert ledger.champion("late") is None


@pytest.mark.parametrize("controller", [real, lambda path: fake(path, release="errors")])
def test_each_release_of_a_version_needs_a_check_of_its_own_and_after_a_rollback_a_person(controller, tmp_path):
    case = controller(tmp_path)
    unchecked = ended(case, a_request("release", 2, id="unchecked"))
    ended(case, a_request("check", 2))
    taken_back = ended(case, a_request("release", 2))
    check_again = ended(case, a_request("check", 2, id="check-again"))
    again = ended(case, a_request("release", 2, id="again"))
    assert ended(case, a_request("unquarantine", 2)).done
    assert ended(case, a_request("check", 2, id="check-later")).done
    later = ended(case, a_request("release", 2, id="later"))
    outcomes = [outcome.release.outcome for outcome in (unchecked, taken_back, again, later)]
    assert outcomes == ["refused", "rolled_back", "refused", "rolled_back"]
    assert unchecked.reason.endswith("; clear check")
    assert (check_again.done, check_again.check.passed) == (False, False)
    for refused in (check_again, again):
        assert refused.reason.startswith("version 2 (000000000000) was rolled back and is in quarantine (")
        assert refused.reason.endswith("python -m release unquarantine late --version 2 --why REASON")


@pytest.mark.parametrize("controller", [real, fake])
def test_a_release_of_what_is_live_already_has_nothing_left_to_do(controller, tmp_path):
    case = ledger, _ = controller(tmp_path)
    ended(case, a_request("check", 1))
    ended(case, a_request("release", 1))
    ended(case, a_request("check", 1, id="check-again"))
    outcome = ended(case, a_request("release", 1, id="release-again"))  # compared when nothing was live
    assert (outcome.done, outcome.release.outcome, outcome.release.steps) == (True, "released", ())
    assert outcome.reason == f"version 1 ({ONE[7:19]}) is live already"
    state = ledger.last("late").state
    assert (state.live.version, state.checked, state.active) == (1, None, None)
