"""The ledger against a world made of fakes, each part of it set wrong by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from contract.errors import RetrainingError
from contract.platform import Platform
from release.controller import consistency as reconciling
from release.controller.consistency import differences, reconcile
from release.controller.loop import lock
from release.targets.base import Server
from tests.release.fakes import FakeWorld, a_request, digest_of

ONE, TWO = digest_of(1), digest_of(2)
STRANGER = Server(model="stranger", digest=TWO, url="http://127.0.0.1:29999", name="stranger-1")


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    world = FakeWorld(tmp_path)
    world.put_live(1, 2)
    world.settle()
    return world


def route_to_old(world: FakeWorld) -> None:
    world.router.weights["late"] = {ONE: 100}


def move_alias(world: FakeWorld) -> None:
    world.alias.versions["late"] = 1


def move_tag(world: FakeWorld) -> None:
    world.tags.names["late", "production"] = 1


def kill_servers(world: FakeWorld) -> None:
    world.target.running.clear()


def leave_container(world: FakeWorld) -> None:
    world.target.running.append(STRANGER)


def tear(world: FakeWorld) -> None:
    last = max(path for path in world.store.files if path.startswith("ledger/late/0"))
    world.store.files[last] = b"{"


def stop_mlflow(world: FakeWorld) -> None:
    world.alias.down = True


WRONG = [
    (route_to_old, f"late: the router has the weights {{'{ONE}': 100}}, the ledger {{'{TWO}': 100}}"),
    (move_alias, "late: MLflow's alias champion is version 1, live is version 2"),
    (move_tag, f"late: the tag production is {ONE}, not version 2 (000000000000)"),
    (kill_servers, f"late: 0 server(s) of {TWO} run, the ledger expects 2"),
    (leave_container, f"stranger: {TWO} runs, and no ledger names it"),
]


@pytest.mark.parametrize(("harm", "sentence"), [*WRONG, (stop_mlflow, "late: MLflow could not be read: MLflow does not answer")])
def test_what_differs_is_said(world, harm, sentence):
    assert differences(world.parts, 2) == []
    harm(world)
    assert differences(world.parts, 2) == [sentence]


def test_a_torn_ledger_is_said_with_its_file(world):
    tear(world)
    [sentence] = differences(world.parts, 2)
    assert sentence.startswith("late: memory/ledger/late/")
    assert sentence.endswith("restore it from a backup; releases wait until then")


def test_a_store_that_does_not_answer_is_all_that_is_said(world):
    world.store.unreachable = True
    [sentence] = differences(world.parts, 2)
    assert sentence.startswith("ledger could not be listed")


def test_a_router_that_does_not_report_is_said(world, monkeypatch):
    monkeypatch.setattr(world.router, "seen", lambda model: None)
    assert differences(world.parts, 2) == [
        "late: the router does not report its weights, or routes to other servers than it was given"
    ]


def test_a_release_under_way_is_not_disturbed(world):
    world.outcome(a_request("check", 3))
    world.ask(a_request("release", 3, expected_live=TWO))
    world.reach("analyzing")
    assert differences(world.parts, 2) == [
        "late: a release of version 3 (000000000000) is in work (analyzing): run this again when it has ended"
    ]


@pytest.fixture
def call(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[list[str], bool]]:
    """Reconciles the world; its controller starts anew, as in a program of its own."""

    def anew(platform: Platform) -> object:
        world.restart()
        return world.controller

    monkeypatch.setattr(reconciling, "parts_of", lambda platform: world.parts)
    monkeypatch.setattr(reconciling, "controller_for", anew)
    serving = {"home": str(world.home), "python": "python"}
    local = {"name": "x", "store": "s", "data": "d", "mlflow": "http://mlflow", "spark": {"python": "p"}}
    platform = Platform(**local, images={"repository": "oci:images"}, serving=serving)
    return lambda: reconcile(platform, within_s=1.0, pause_s=0.0)


@pytest.mark.parametrize("harm", [harm for harm, _ in WRONG])
def test_where_no_controller_runs_it_is_repaired(world, call, harm):
    harm(world)
    assert call() == ([], True)


def test_where_one_runs_it_only_reports(world, call):
    move_alias(world)
    with lock(world.home):
        assert call() == (["late: MLflow's alias champion is version 1, live is version 2"], False)
    assert world.alias.versions == {"late": 1}


def test_a_store_that_fails_removes_nothing(world, call):
    leave_container(world)
    world.store.unreachable = True
    with pytest.raises(RetrainingError):
        call()
    assert STRANGER in world.target.running
