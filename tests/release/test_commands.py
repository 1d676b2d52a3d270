"""What people ask by hand: of the real controller, its world made of fakes."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

import release.__main__ as program
from contract.platform import Platform
from images.oci import CONFIG, MANIFEST, canonical
from images.references import repository_of
from release.ledger import commands
from release.ledger.commands import InvalidCommand, NoOutcome, submit
from tests.release.fakes import FakeWorld, a_request, digest_of

ONLY = "only what has had all traffic is gone back to"
PINNED = "version 3 (000000000000) is pinned: an audit (ann)"
ONE, TWO, THREE = digest_of(1), digest_of(2), digest_of(3)


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    world = FakeWorld(tmp_path)
    world.put_live(1, 2, 3)
    return world


@pytest.fixture
def say(world: FakeWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str]]:
    """Exit code and output of a command line; the controller turns meanwhile."""
    monkeypatch.setattr(program, "store_of", lambda platform: world.store)
    monkeypatch.setattr(commands, "POLL_S", 0.01)

    def run(*arguments: str) -> tuple[int, str]:
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(program.main(list(arguments))))
        thread.start()
        while thread.is_alive():
            world.reconcile()
        thread.join()
        printed = capsys.readouterr()
        return codes[0], (printed.out + printed.err).strip()

    return run


def live(world: FakeWorld) -> tuple[int, dict[str, int]]:
    return world.ledger.champion("late").version, world.router.weights["late"]


def test_a_rollback_goes_to_the_previous_version(world, say):
    code, printed = say("rollback", "late", "--why", "conversion dropped", "--who", "ann")

    assert (code, printed) == (0, "rollback of late done: conversion dropped")
    assert live(world) == (2, {TWO: 100})
    entry = world.ledger.last("late")
    assert (entry.why, entry.outcomes[0].release.digest) == ("conversion dropped", TWO)


def test_a_rollback_goes_to_any_version_that_was_live(world, say):
    """It is started first: traffic never goes to what is not ready."""
    code, _ = say("rollback", "late", "--to-version", "1", "--why", "the label has changed since")

    assert (code, live(world)) == (0, (1, {ONE: 100}))
    assert world.alias.versions == {"late": 1}


def test_a_rollback_to_a_version_ends_a_release_first(world, say):
    world.outcome(a_request("check", 4))
    world.ask(a_request("release", 4, expected_live=THREE, hold="100s"))
    world.reach("analyzing")

    code, _ = say("rollback", "late", "--to-version", "1", "--why", "nothing since then is right")

    assert (code, live(world)) == (0, (1, {ONE: 100}))
    assert world.ledger.outcome("late", "release-4").release.outcome == "rolled_back"


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (("rollback", "late", "--to-version", "3"), "rollback of late refused: version 3 (000000000000) is live already"),
        (
            ("rollback", "late", "--to-version", "7"),
            f"version 7 of late was never live: {ONLY}",
        ),
        (("freeze", "lote"), "no model lote has ever been checked or released here (there are: late)"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(world, say, arguments, printed):
    assert say(*arguments, "--why", "x") == (1, printed)
    assert live(world) == (3, {THREE: 100})


def test_a_version_that_was_only_offered_is_not_gone_back_to(world):
    world.outcome(a_request("check", 4))

    with pytest.raises(InvalidCommand, match="version 4 of late was never live"):
        submit(world.store, "rollback", "late", "ann", "x", 4)


def test_a_pin_keeps_what_is_live_until_it_ends(world, say):
    assert say("pin", "late", "--why", "an audit", "--who", "ann") == (0, "pin of late done: an audit")

    world.outcome(a_request("check", 4))
    refused = world.outcome(a_request("release", 4, expected_live=THREE))
    assert refused.reason == f"{PINNED}; unpin late and clear the release"
    assert say("rollback", "late", "--why", "x")[1] == f"rollback of late refused: {PINNED}; unpin it first"
    assert "pinned     an audit (ann)" in say("status")[1]

    say("unpin", "late", "--why", "it is over")
    assert say("rollback", "late", "--why", "x")[0] == 0


def test_a_freeze_stops_releases_and_lets_go_back(world, say):
    say("freeze", "late", "--why", "a holiday", "--who", "ann")

    world.outcome(a_request("check", 4))
    assert "are frozen: a holiday (ann)" in world.outcome(a_request("release", 4, expected_live=THREE)).reason
    assert say("rollback", "late", "--why", "x")[0] == 0


def test_what_was_taken_back_may_be_offered_again_when_a_person_says_so(world, say):
    say("rollback", "late", "--why", "complaints", "--who", "ann")
    assert "quarantine version 3: complaints (ann)" in say("status", "late")[1]

    assert say("unquarantine", "late", "--version", "2", "--why", "x") == (
        1,
        "version 2 of late is not in quarantine (there is: 3)",
    )
    assert say("unquarantine", "late", "--version", "3", "--why", "it was the network") == (
        0,
        "unquarantine of late done: version 3 (000000000000) may be checked and released again: it was the network",
    )
    assert world.state().quarantined == ()


def test_old_images_are_listed_and_go_only_when_that_is_asked_for(world, say, monkeypatch, tmp_path):
    repository = repository_of(f"oci:{tmp_path}/images", "late")
    for version in range(1, 5):
        config = repository.put(CONFIG, b"{}")
        manifest = canonical({"mediaType": MANIFEST, "config": config, "layers": [], "annotations": {"version": str(version)}})
        repository.name(repository.put(MANIFEST, manifest)["digest"], f"v{version}")
    local = {"name": "x", "store": "s", "data": "d", "mlflow": "http://mlflow", "spark": {"python": "p"}}
    images = {"repository": f"oci:{tmp_path}/images", "keep": 2}
    platform = Platform(**local, images=images, serving={"python": "p"})
    monkeypatch.setattr(program, "platform_of", lambda options: platform)

    code, printed = say("images", "clean")
    assert (code, printed.splitlines()[0], printed.splitlines()[-1]) == (0, "late: 2 of 4 go", "nothing was deleted: add --delete")
    assert sorted(repository.names()) == ["v1", "v2", "v3", "v4"]
    assert say("images", "clean", "late", "--delete")[1].endswith("\ndeleted")
    assert sorted(repository.names()) == ["v3", "v4"]


def test_status_says_what_is_live(say):
    code, printed = say("status", "late")

    assert (code, printed.splitlines()[:2]) == (0, ["late", f"  live       version 3 {THREE}"])
    assert json.loads(say("status", "--json")[1])[0]["live"]["version"] == 3


def test_history_tells_the_newest_entries_first(say):
    _, printed = say("history", "late", "--entries", "2")

    first, second = printed.splitlines()
    assert "release: released (controller: 3 step(s) within the limits; prediction drift from the old version is 0.0%" in first
    assert "takes all traffic: promoting it" in second


def test_at_tells_who_answered_at_any_time(world, say):
    steps = {entry.what: entry.time for entry in reversed(list(world.ledger.entries("late")))}
    shifted, confirmed = steps["5 % to version 3 (000000000000)"], steps["5 % confirmed by the router, judging"]

    answering = json.loads(say("at", "late", shifted.isoformat(), "--json")[1])
    seen = json.loads(say("at", "late", confirmed.isoformat(), "--json")[1])

    assert {share["version"]: share["percent"] for share in answering["weights"]} == {2: 95, 3: 5}
    assert (answering["confirmed"], seen["confirmed"]) == (False, True)
    assert "not yet confirmed by the router" in say("at", "late", shifted.isoformat())[1]
    assert "100 % version 3" in say("at", "late", datetime.now(UTC).isoformat())[1]
    assert say("at", "late", "2001-01-01T00:00")[1] == "late: nothing was live, requests were answered 503"


def test_without_a_controller_the_request_stays_and_that_is_said(world):
    request = submit(world.store, "freeze", "late", "ann", "a holiday")

    with pytest.raises(NoOutcome, match="the controller has not answered within 0 s: see that it runs on the serving host"):
        commands.await_outcome(world.store, request, 0)
    world.reconcile()
    assert commands.await_outcome(world.store, request, 0).done
