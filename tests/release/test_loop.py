"""The real controller, its world made of fakes, in simulated time."""

from collections import Counter
from pathlib import Path

import pytest

from release.controller.local_state import LocalState
from release.probes.golden_rows import ProbeResult
from tests.release.fakes import Behaviour, FakeWorld, Faults, a_request, digest_of

ONE, TWO, THREE = digest_of(1), digest_of(2), digest_of(3)


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    return FakeWorld(tmp_path)


def whats(world: FakeWorld) -> list[str]:
    return [entry.what for entry in reversed(list(world.ledger.entries("late")))]


def running(world: FakeWorld) -> dict[str, int]:
    return dict(Counter(server.digest for server in world.target.servers()))


def test_a_check_starts_one_server_without_weight_and_keeps_it_warm(world):
    outcome = world.outcome(a_request("check", 1))
    assert (outcome.done, outcome.check.parity, outcome.check.p95_ms, outcome.check.memory_mb) == (True, 0.0, 5.0, 100.0)
    assert running(world) == {ONE: 1}
    assert world.router.weights["late"] == {}


def test_a_first_release_takes_all_traffic_at_once_and_is_judged_for_one_hold(world):
    world.put_live(1)
    assert whats(world) == [
        "check requested",
        "check: starting version 1 (000000000000)",
        "probing version 1 (000000000000) with the golden rows",
        "check: done",
        "release requested",
        "release: starting version 1 (000000000000)",
        "100 % to version 1 (000000000000)",
        "100 % confirmed by the router, judging",
        "version 1 (000000000000) takes all traffic: promoting it",
        "release: released",
    ]
    assert world.router.weights["late"] == {ONE: 100}
    assert world.alias.versions == {"late": 1}
    assert running(world) == {ONE: 2}
    assert world.ledger.champion("late").version == 1


def test_a_release_goes_in_steps(world):
    world.put_live(1)
    seen = []
    world.outcome(a_request("check", 2))
    outcome = world.outcome(
        a_request("release", 2, expected_live=ONE), between=lambda: seen.append(world.router.weights["late"].get(TWO, 0))
    )
    assert sorted(set(seen)) == [0, 5, 25, 100]
    assert [(step.percent, step.thin_traffic) for step in outcome.release.steps] == [(5, False), (25, False), (100, False)]
    assert all(step.requests >= 50 for step in outcome.release.steps)
    assert outcome.release.previous == ONE
    world.settle()
    assert running(world) == {TWO: 2}
    assert world.tags.names == {("late", "production"): 2, ("late", "previous"): 1}


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (Behaviour(error_share=0.5), "requests failed; 1.00% are allowed"),
        (Behaviour(seconds=0.08), "requests took longer than 50 ms; 5 % may"),
        (Behaviour(client_error_share=0.3), "were refused as the client's error (4xx), against 0 of"),
    ],
)
def test_a_version_that_misbehaves_is_taken_back(world, behaviour, reason):
    world.put_live(1)
    world.router.behaves[TWO] = behaviour
    world.outcome(a_request("check", 2))
    outcome = world.outcome(a_request("release", 2, expected_live=ONE))
    world.settle()
    assert (outcome.done, outcome.release.outcome) == (False, "rolled_back")
    assert reason in outcome.reason
    assert world.router.weights["late"] == {ONE: 100}
    assert running(world) == {ONE: 2}
    assert world.alias.versions == {"late": 1}
    assert world.ledger.champion("late").version == 1


def test_a_first_release_that_misbehaves_leaves_no_servers(world):
    world.router.behaves[ONE] = Behaviour(error_share=1)
    world.outcome(a_request("check", 1))
    outcome = world.outcome(a_request("release", 1))
    world.settle()
    assert outcome.release.outcome == "rolled_back"
    assert (world.router.weights["late"], running(world), world.ledger.champion("late")) == ({}, {}, None)


def test_thin_traffic_waits_for_max_hold_and_then_asks_the_golden_rows(world):
    world.put_live(1)
    world.requests_per_s = 20
    world.outcome(a_request("check", 2))
    before = len(world.probe.measured)
    outcome = world.outcome(a_request("release", 2, expected_live=ONE, canary=[5, 100], max_hold="8s", max_error_rate=0.2))
    assert [(step.percent, step.thin_traffic) for step in outcome.release.steps] == [(5, True), (100, False)]
    assert outcome.release.steps[0].seconds >= 8
    assert len(world.probe.measured) == before + 1
    assert outcome.reason.startswith(
        "2 step(s) within the limits, 1 with thin traffic; prediction drift from the old version is 0.0%"
    )


def test_thin_traffic_with_wrong_golden_rows_is_taken_back(world):
    world.put_live(1)
    world.requests_per_s = 0
    world.outcome(a_request("check", 2))
    world.probe.answers[TWO] = ProbeResult(parity=0.1, worst="golden row 1", p95_ms=5)
    outcome = world.outcome(a_request("release", 2, expected_live=ONE))
    assert outcome.release.outcome == "rolled_back"
    assert "golden rows failed: golden row 1: 1.0e-01 apart" in outcome.reason


def test_a_damaged_image_fails_its_check_with_the_sentence(world):
    world.put_live(1)
    world.target.damaged.add(TWO)
    outcome = world.outcome(a_request("check", 2))
    assert (outcome.done, outcome.check.passed) == (False, False)
    assert outcome.reason == f"blob of {TWO} has other bytes than its name says"
    assert running(world) == {ONE: 2}


def test_a_server_that_never_gets_ready_fails_its_check(world):
    world.probe.unready.add(ONE)
    outcome = world.outcome(a_request("check", 1))
    assert outcome.reason == "version 1 (000000000000) was not ready within 120 s; read its log"


@pytest.mark.parametrize(
    ("version", "expected_live", "checked", "reason"),
    [
        (3, ONE, True, "version 2 (000000000000) is live, not the version that this one was compared with"),
        (3, None, True, "version 2 (000000000000) is live, not the version that this one was compared with"),
        (1, TWO, True, "not later than that of the live version 2"),
        (3, TWO, False, "is not the version that passed the last check"),
    ],
)
def test_a_release_is_refused(world, version, expected_live, checked, reason):
    world.put_live(1, 2)
    if checked:
        world.outcome(a_request("check", version, id="again"))
    outcome = world.outcome(a_request("release", version, id="stale", expected_live=expected_live))
    assert (outcome.done, outcome.release.outcome) == (False, "refused")
    assert reason in outcome.reason
    assert world.router.weights["late"] == {TWO: 100}


def test_frozen_means_no_release_until_unfrozen_but_a_rollback_works(world):
    world.put_live(1, 2)
    world.outcome(a_request("freeze"))
    world.outcome(a_request("check", 3))
    assert "frozen: a test asks (ann)" in world.outcome(a_request("release", 3, expected_live=TWO)).reason
    assert world.outcome(a_request("rollback")).done
    world.outcome(a_request("unfreeze"))
    world.outcome(a_request("check", 3, id="check-again"))
    assert world.outcome(a_request("release", 3, id="release-again", expected_live=ONE)).release.outcome == "released"


def test_a_rollback_goes_back_to_the_previous_version_at_once(world):
    world.put_live(1, 2)
    world.ask(a_request("rollback"))
    world.settle(3)
    assert world.router.weights["late"] == {ONE: 100}
    world.settle()
    assert world.ledger.outcome("late", "rollback-0").release.outcome == "rolled_back"
    assert (world.ledger.champion("late").version, world.alias.versions, running(world)) == (1, {"late": 1}, {ONE: 2})
    assert world.outcome(a_request("rollback", id="again")).reason == "there is no previous version to go back to"


def test_a_rollback_ends_the_release_that_is_under_way_and_nothing_else(world):
    world.put_live(1, 2)
    world.outcome(a_request("check", 3))
    world.ask(a_request("release", 3, expected_live=TWO))
    world.settle(4)
    assert world.router.weights["late"] == {THREE: 5, TWO: 95}
    assert world.outcome(a_request("rollback")).done
    assert world.ledger.outcome("late", "release-3").release.outcome == "rolled_back"
    world.settle()
    assert world.router.weights["late"] == {TWO: 100}
    assert world.ledger.champion("late").version == 2


def test_a_request_waits_while_another_is_in_work(world):
    world.put_live(1)
    world.outcome(a_request("check", 2))
    world.ask(a_request("release", 2, expected_live=ONE))
    world.settle(3)
    assert world.outcome(a_request("check", 3)).done
    kinds = [outcome.kind for entry in world.ledger.entries("late") for outcome in entry.outcomes]
    assert kinds[:2] == ["check", "release"]


def test_silence_of_the_router_is_not_good_news(world):
    world.put_live(1)
    world.outcome(a_request("check", 2))
    world.ask(a_request("release", 2, expected_live=ONE))
    world.reach("analyzing")
    world.router.silent = True
    world.settle(35)
    assert world.router.weights["late"] == {ONE: 100}
    assert world.ledger.outcome("late", "release-2") is None  # nobody has read it back yet
    world.router.silent = False
    world.settle(2)
    assert "reported nothing of this release for 30 s" in world.ledger.outcome("late", "release-2").reason


def test_counters_that_begin_anew_begin_the_step_anew(world):
    world.put_live(1)
    world.outcome(a_request("check", 2))
    world.ask(a_request("release", 2, expected_live=ONE, hold="10s"))
    world.settle(8)
    world.router.restart()
    world.settle(2)
    assert whats(world)[-1] == "the router's counters were reset: judging 5 % from the start"
    assert world.outcome(a_request("release", 2, expected_live=ONE)).release.outcome == "released"


def test_a_killed_server_is_started_again_also_in_a_canary_step(world):
    world.put_live(1)
    world.outcome(a_request("check", 2))
    world.ask(a_request("release", 2, expected_live=ONE))
    world.settle(4)
    world.target.running = [server for server in world.target.running if server.digest == ONE][:1]
    world.settle(2)
    assert running(world) == {ONE: 2, TWO: 2}
    assert {server.digest for server in world.router.servers["late"]} == {ONE, TWO}


def test_an_alias_that_cannot_be_moved_does_not_undo_a_release_and_follows(world):
    world.alias.down = True
    world.outcome(a_request("check", 1))
    outcome = world.outcome(a_request("release", 1))
    assert outcome.reason.endswith("; the alias could not be moved yet and will follow (MLflow does not answer)")
    assert outcome.release.outcome == "released"
    world.alias.down = False
    world.settle(2)
    assert world.alias.versions == {"late": 1}


@pytest.mark.parametrize("failing", ["full", "unreachable"])
def test_a_release_that_breaks_its_limit_while_the_store_fails_goes_back(world, failing):
    world.put_live(1)
    world.outcome(a_request("check", 2))
    world.ask(a_request("release", 2, expected_live=ONE, hold="10s"))
    world.reach("analyzing")
    setattr(world.store, failing, True)
    world.router.behaves[TWO] = Behaviour(error_share=0.5)
    world.settle(3)
    assert world.router.weights["late"] == {ONE: 100}
    world.restart()  # what was done is also known after a crash
    world.router.behaves.clear()
    world.settle(3)
    assert world.router.weights["late"] == {ONE: 100}
    setattr(world.store, failing, False)
    world.ask(a_request("freeze"))  # somebody else is quicker than the controller
    world.settle(3)
    outcome = world.ledger.outcome("late", "release-2")
    assert (outcome.release.outcome, world.ledger.champion("late").version) == ("rolled_back", 1)
    assert world.ledger.outcome("late", "freeze-0").done
    assert any(what.startswith("recorded afterwards: ") and "requests failed" in what for what in whats(world))


def test_nothing_goes_forward_while_the_store_fails(world):
    world.put_live(1)
    world.outcome(a_request("check", 2))
    world.ask(a_request("release", 2, expected_live=ONE))
    world.reach("analyzing")
    world.store.full = True
    world.settle(20)
    assert world.router.weights["late"] == {TWO: 5, ONE: 95}
    world.store.full = False
    assert world.outcome(a_request("release", 2, expected_live=ONE)).release.outcome == "released"


def test_a_person_on_the_host_goes_back_while_the_store_fails(world):
    world.put_live(1, 2)
    world.store.unreachable = True
    (world.home / "commands/late.rollback").write_text("bob: complaints")
    world.settle(6)
    assert world.router.weights["late"] == {ONE: 100}
    world.store.unreachable = False
    world.settle(2)
    assert world.ledger.champion("late").version == 1
    assert [o.reason for o in world.state().outcomes if o.kind == "rollback"] == ["bob: complaints"]
    assert list((world.home / "commands").iterdir()) == []


def test_a_version_that_crashed_for_good_is_cleared_away_as_soon_as_nobody_wants_it(world):
    world.put_live(1)
    world.router.behaves[TWO] = Behaviour(error_share=0.5)
    world.outcome(a_request("check", 2))
    assert world.outcome(a_request("release", 2, expected_live=ONE)).release.outcome == "rolled_back"
    world.target.crash(TWO)
    assert world.target.digests("late") == {ONE, TWO}
    world.settle()
    assert world.target.digests("late") == {ONE}


@pytest.mark.parametrize("harm", ["torn", "gap", "lost"])
def test_a_broken_ledger_stops_releases_and_the_live_version_goes_on(world, harm, caplog):
    world.put_live(1)
    numbers = sorted(path for path in world.store.files if path.startswith("ledger/late/0"))
    if harm == "torn":
        world.store.files[numbers[-1]] = world.store.files[numbers[-1]][:100]
    else:
        del world.store.files[numbers[-1 if harm == "lost" else 1]]
    if harm == "gap":
        world.restart()  # a controller lists old entries when it starts
    world.target.running.clear()
    world.settle(3)
    assert running(world) == {ONE: 2}
    assert world.router.weights["late"] == {ONE: 100}
    assert "restore it from a backup" in caplog.text


def test_a_broken_model_harms_no_other(world, caplog):
    world.put_live(1)
    world.outcome(a_request("check", 7, model="other"))
    world.store.files["ledger/late/00000/00000099.json"] = b"{"
    world.restart()
    assert world.outcome(a_request("release", 7, model="other")).release.outcome == "released"
    assert "ledger/late/" in caplog.text


def test_the_journal_survives_a_torn_copy(world):
    world.put_live(1)
    (world.home / "entries/late.json").write_text("{")
    assert LocalState(world.home / "entries").get("late") is None
    world.restart()
    world.settle(1)
    assert LocalState(world.home / "entries").get("late").entry.state.live.version == 1


def asked_of(world: FakeWorld) -> None:
    """A good release, a bad one, a damaged image, thin traffic, and a person's rollback."""
    world.router.behaves[THREE] = Behaviour(error_share=0.5)
    world.target.damaged.add(digest_of(4))
    for version, live in [(1, None), (2, ONE), (3, TWO), (4, TWO)]:
        world.requests_per_s = 20 if version == 2 else 2000
        world.outcome(a_request("check", version), between=lambda: names_what_is_live(world))
        limits = {"canary": [10, 100], "hold": "1s", "max_hold": "3s"}
        world.outcome(a_request("release", version, expected_live=live, **limits), between=lambda: names_what_is_live(world))
    world.outcome(a_request("rollback"), between=lambda: names_what_is_live(world))
    world.settle(8)  # killed while it stops servers, it waits anew


def names_what_is_live(world: FakeWorld) -> None:
    state = world.state()
    active = state.active and state.active.image
    named = {image.digest for image in (state.live, state.previous, active) if image}
    assert set(world.router.weights.get("late", {})) <= named


def points(tmp_path: Path) -> int:
    world = FakeWorld(tmp_path, Faults())
    asked_of(world)
    return world.faults.passed


def test_a_controller_killed_at_any_point_ends_with_one_outcome_each_and_the_right_world(tmp_path, caplog):
    caplog.set_level("ERROR")
    total = points(tmp_path / "calm")
    assert total > 100
    for point in range(1, total + 1):
        world = FakeWorld(tmp_path / str(point), Faults(crash_at=point))
        asked_of(world)
        brought = Counter(outcome.request for entry in world.ledger.entries("late") for outcome in entry.outcomes)
        ends = [outcome.release.outcome for outcome in world.state().outcomes if outcome.release]
        assert set(brought.values()) == {1}, f"killed at point {point}"
        assert ends == ["released", "released", "rolled_back", "refused", "rolled_back"], f"killed at point {point}"
        assert world.router.weights["late"] == {ONE: 100}
        assert world.alias.versions == {"late": 1}
        assert running(world) == {ONE: 2}
        assert world.faults.passed >= point


def test_a_check_replays_what_the_live_version_was_asked_where_the_spec_wants_it(world):
    world.put_live(1)
    assert world.outcome(a_request("check", 2)).check.replay is None
    outcome = world.outcome(a_request("check", 3, replay={"requests": 50}))
    assert (outcome.check.passed, outcome.check.replay.requests) == (True, 1)
    assert world.probe.replayed == [(THREE, (ONE,))]


def test_how_far_the_answers_drift_is_told(world):
    world.put_live(1)
    world.probe.lies[TWO] = "0.9"
    world.outcome(a_request("check", 2))
    outcome = world.outcome(a_request("release", 2, expected_live=ONE))
    assert [step.drift for step in outcome.release.steps] == [1.0, 1.0, 1.0]
    assert "prediction drift from the old version is 100.0% (chance explains " in outcome.reason


def test_a_version_that_drifts_too_far_is_taken_back_where_the_spec_sets_a_limit(world):
    world.put_live(1)
    world.probe.lies[TWO] = "0.9"
    world.outcome(a_request("check", 2))
    outcome = world.outcome(a_request("release", 2, expected_live=ONE, max_drift=0.2))
    assert outcome.release.outcome == "rolled_back"
    assert outcome.reason.startswith("prediction drift from the old version is 100%, of which chance explains ")


def test_a_drift_that_is_not_known_is_not_good(world, monkeypatch):
    world.put_live(1)
    monkeypatch.setattr(world.probe, "predictions", lambda model, servers: {})
    world.outcome(a_request("check", 2))
    outcome = world.outcome(a_request("release", 2, expected_live=ONE, canary=[50, 100], max_drift=0.2, max_hold="8s"))
    assert [step.thin_traffic for step in outcome.release.steps] == [True, True]  # the golden rows spoke for it
