"""What happens beside a release while it is under way: another one, a clock that jumps, an MLflow that is away."""

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from contract.store.factory import store_at
from release.registries.mlflow_alias import MlflowAlias
from tests.release.fakes import FakeWorld, a_request, digest_of
from tests.release.local import ROOT
from tests.release.test_faults_store import is_whole, world_on
from tests.release.test_mlflow_alias import Mlflow

ONE, TWO, THREE = digest_of(1), digest_of(2), digest_of(3)
HOUR_S = 3600
ASKER = """
import sys, time
from pydantic import TypeAdapter
from contract.store.factory import store_at
from release.ledger.requests import Request
from release.ledger.ledger import Ledger
ledger = Ledger(store_at(sys.argv[1]))
sys.stdin.readline()
for text in sys.argv[2:]:
    request = TypeAdapter(Request).validate_json(text)
    ledger.request(request)
    while not (outcome := ledger.outcome(request.model, request.id)):
        time.sleep(0.002)
print(outcome.release.outcome, outcome.reason)
"""


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    world = world_on(store_at(str(tmp_path / "store")), tmp_path / "home")
    world.put_live(1)
    return world


def names_what_is_live(world: FakeWorld) -> bool:
    state = world.state()
    named = (state.live, state.previous, state.active and state.active.image)
    return set(world.router.weights["late"]) <= {image.digest for image in named if image}


def asker(world: FakeWorld, version: int) -> subprocess.Popen:
    """What Airflow's tasks do for one run, as a process."""
    requests = [a_request(kind, version, expected_live=ONE).model_dump_json() for kind in ("check", "release")]
    command = [sys.executable, "-c", ASKER, world.store.root, *requests]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("attempt", range(2))
def test_of_two_releases_of_a_model_at_once_one_goes_live_and_the_other_is_refused(world, attempt):
    askers = {version: asker(world, version) for version in (2, 3)}
    for process in askers.values():
        process.stdin.write("go\n")
        process.stdin.flush()
    while any(process.poll() is None for process in askers.values()):
        world.reconcile()
        assert names_what_is_live(world)

    printed = {version: process.stdout.read().partition(" ") for version, process in askers.items()}
    assert sorted(outcome for outcome, _, _ in printed.values()) == ["refused", "released"]
    live, refused = sorted(printed, key=lambda version: printed[version][0], reverse=True)
    assert any(
        reason in printed[refused][2]
        for reason in ("is live, not the version that", "is not the version that passed the last check")
    )
    world.settle(8)
    assert is_whole(world, live=digest_of(live))


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
@pytest.mark.parametrize("phase", ["starting", "shifting", "analyzing", "promoting"])
def test_a_clock_that_jumps_in_the_middle_of_a_release_makes_no_half_release(world, phase, jump_s):
    world.outcome(a_request("check", 2))
    world.ask(a_request("release", 2, expected_live=ONE))
    world.reach(phase)
    world.clock.pass_(jump_s)

    turns = 0
    while (outcome := world.ledger.outcome("late", "release-2")) is None:
        world.reconcile()
        turns += 1
        assert names_what_is_live(world)
        assert turns < HOUR_S + 200

    print(f"{jump_s:+} s while {phase}: {outcome.release.outcome} after {turns} s: {outcome.reason}")
    world.settle(8)
    assert is_whole(world, live={"released": TWO, "rolled_back": ONE}[outcome.release.outcome])
    times = [entry.time for entry in world.ledger.entries("late")]
    assert times == sorted(times, reverse=True)


def stop(mlflow: Mlflow) -> None:
    mlflow.shutdown()
    mlflow.socket.close()


def start(mlflow: Mlflow) -> None:
    mlflow.socket = socket.create_server(mlflow.server_address)
    threading.Thread(target=mlflow.serve_forever, args=(0.02,), daemon=True).start()


def test_an_mlflow_that_is_away_when_the_alias_should_move_gets_it_when_it_is_back(world):
    mlflow = Mlflow()
    threading.Thread(target=mlflow.serve_forever, args=(0.02,), daemon=True).start()
    world.alias = MlflowAlias(mlflow.url)
    world.restart()
    world.settle(3)
    assert mlflow.aliases == {("late", "champion"): "1"}
    world.outcome(a_request("check", 2))

    stop(mlflow)
    outcome = world.outcome(a_request("release", 2, expected_live=ONE))
    assert outcome.release.outcome == "released"
    assert f"the alias could not be moved yet and will follow (MLflow does not answer at {mlflow.url}" in outcome.reason
    assert world.router.weights["late"] == {TWO: 100}

    start(mlflow)
    world.settle(8)
    assert mlflow.aliases == {("late", "champion"): "2"}
    assert is_whole(world, live=TWO)
    stop(mlflow)
