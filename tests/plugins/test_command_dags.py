"""Commands as DAGs: triggered by a person, answered by the controller, or refused with its sentence."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contract.documents import Image
from contract.serving import Serving
from contract.store.factory import store_at
from images.layout import Layout
from images.oci import CONFIG, MANIFEST
from plugins.retraining.catalog import platform_for
from plugins.retraining.maintenance.command_dags import EVERY, command_dag, images_dag, params_of
from release.ledger.entries import Draft, Quarantined, State
from release.ledger.ledger import Ledger
from release.ledger.requests import KINDS
from tests.plugins import airflow_internals as internals
from tests.plugins.conftest import HOME
from tests.plugins.runner import Run, start
from tests.release.fake_controller import FakeController

STORE = HOME / "store"
IMAGE = Image(model="late", version=1, as_of=datetime(2013, 6, 1, tzinfo=UTC), digest="d", reference="r", size=1, labels={})
DUE = datetime(2013, 6, 15, 6, tzinfo=UTC)


@pytest.fixture
def controller() -> Iterator[FakeController]:
    """Version 1 of `late` is live, and requests are answered as they come."""
    shutil.rmtree(STORE, ignore_errors=True)
    controller, over = FakeController(store_at(str(STORE))), threading.Event()
    for kind in ("check", "release"):
        running = KINDS[kind](id=kind, model="late", image=IMAGE, golden="g", serving=Serving(), who="airflow", why="a run")
        controller.ledger.request(running)
        controller.reconcile()
    thread = threading.Thread(target=lambda: [controller.reconcile() for _ in iter(lambda: over.wait(0.05), True)])
    thread.start()
    yield controller
    over.set()
    thread.join()


@pytest.fixture
def trigger(airflow: None, bundle: Path, controller: FakeController) -> Callable[..., Run]:
    platform = platform_for(bundle / "dags" / "models" / "late.yaml")

    def begin(command: str, **params: object) -> Run:
        return start(command_dag(command, ["late"], platform), lambda: None, due=DUE, conf=params).go()

    return begin


def test_a_freeze_is_requested_and_has_an_outcome(trigger, controller):
    run = trigger("freeze", model="late", why="a holiday")

    assert run.state == "success"
    assert controller.ledger.last("late").state.frozen.startswith("a holiday (")


def test_what_the_controller_refuses_fails_with_its_sentence(trigger, controller):
    run = trigger("rollback", model="late", why="it is slow")

    assert run.state == "failed"
    assert controller.ledger.last("late").state.outcomes[-1].reason == "there is no previous version to go back to"


def test_a_version_that_was_never_live_is_refused_before_any_request(trigger, controller):
    before = controller.ledger.last("late").n

    assert trigger("rollback", model="late", why="it is slow", to_version=9).state == "failed"
    assert controller.ledger.last("late").n == before


def test_a_version_that_was_taken_back_leaves_its_quarantine(trigger, controller):
    last = controller.ledger.last("late")
    taken_back = IMAGE.model_copy(update={"version": 2, "digest": "d2"})
    state = last.state.model_copy(update={"quarantined": (Quarantined(image=taken_back, why="slow"),)})
    controller.ledger.append("late", last, Draft(who="test", why="test", what="test", state=state))

    run = trigger("unquarantine", model="late", why="the network was slow", version=2)

    assert run.state == "success"
    assert controller.ledger.last("late").state.quarantined == ()
    assert trigger("unquarantine", model="late", why="once more", version=2).state == "failed"


def test_a_reason_and_an_existing_model_are_required():
    params = params_of("rollback", ["late", "early"])

    assert (params["why"].schema["minLength"], params["model"].schema["enum"]) == (1, ["late", "early"])
    assert params["to_version"].schema["type"] == ["null", "integer"]
    assert "to_version" not in params_of("freeze", ["late"])
    assert (params_of("unquarantine", ["late"])["version"].schema["type"], "version" in params) == ("integer", False)


@pytest.fixture
def layout(airflow: None) -> Layout:
    """Versions 1 to 4 of `late`, of which the first is live; the platform keeps two, beside what had traffic."""
    shutil.rmtree(HOME / "images", ignore_errors=True)
    layout = Layout(HOME / "images" / "late")
    config = layout.put(CONFIG, b"{}")
    for version in (1, 2, 3, 4):
        content = {"mediaType": MANIFEST, "config": config, "layers": [], "annotations": {"version": str(version)}}
        layout.name(layout.put(MANIFEST, json.dumps(content).encode())["digest"], f"v{version}")
    ledger = Ledger(store_at(str(STORE)))
    live = IMAGE.model_copy(update={"digest": layout.resolve("v1")})
    ledger.append("late", ledger.last("late"), Draft(who="test", why="test", what="test", state=State(live=live)))
    return layout


@pytest.mark.parametrize("model", ["late", EVERY])
@pytest.mark.parametrize(("delete", "names"), [(False, ["v1", "v2", "v3", "v4"]), (True, ["v1", "v3", "v4"])])
def test_images_are_deleted_only_with_the_param(bundle, controller, layout, model, delete, names):
    platform = platform_for(bundle / "dags" / "models" / "late.yaml")
    two = platform.model_copy(update={"images": platform.images.model_copy(update={"keep": 2})})

    run = start(images_dag(["late"], two), lambda: None, due=DUE, conf={"model": model, "delete": delete}).go()

    assert (run.state, run.xcom("images_clean"), sorted(layout.names())) == ("success", {"late": 1}, names)


def test_each_command_is_a_dag_of_the_bundle(airflow, bundle):
    bag = internals.parsed(bundle / "dags" / "commands.py")

    names = ("freeze", "images_clean", "pin", "rollback", "unfreeze", "unpin", "unquarantine")
    assert bag.import_errors == {}
    assert sorted(bag.dags) == [f"retraining_{name}" for name in names]
    assert {dag.schedule for dag in bag.dags.values()} == {None}
