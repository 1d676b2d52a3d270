"""Applications that nobody waits for are stopped, and no others."""

import pytest

from contract import documents
from contract.store.local import LocalStore
from plugins.retraining.engines.base import Application, store_tag
from plugins.retraining.spark.job_runner import Ticket
from plugins.retraining.spark.orphans import stop_orphans
from tests.plugins.fakes import FakeEngine

KEYS = {"validate": "1" * 32, "train": "2" * 32, "compare": "3" * 32}
OTHERS = "fedcba9876543210fedcba9876543210"


class Cluster(FakeEngine):
    """Two living applications: one of this store, and one with its tag but without a ticket."""

    def __init__(self, root: str) -> None:
        super().__init__()
        self.stopped: list[str] = []
        tags = [frozenset({*keys, store_tag(root), "model:late"}) for keys in (KEYS.values(), [OTHERS])]
        self.living = [Application(f"application_{number}", "running", tags=own_tags) for number, own_tags in enumerate(tags, 1)]

    def find(self, tag: str, live: bool = False) -> list[Application]:
        assert live
        return [application for application in self.living if tag in application.tags]

    def stop(self, id: str) -> None:
        self.stopped.append(id)


@pytest.fixture
def store(tmp_path):
    store = LocalStore(str(tmp_path))
    for step, key in KEYS.items():
        ticket = Ticket(model="late", run_id="manual__1", step=step, folder="runs/late/r")
        documents.write(store, f"jobs/{key}/ticket.json", ticket)
    return store


def done(store: LocalStore, *steps: str) -> None:
    for step in steps:
        store.create(f"runs/late/r/{step}-{KEYS[step]}.json", b"{}")


@pytest.mark.parametrize(
    ("state", "stopped"),
    [
        (None, []),
        ("up_for_reschedule", []),
        ("up_for_retry", []),
        ("running", []),
        ("failed", ["application_1"]),
        ("success", ["application_1"]),
        ("upstream_failed", ["application_1"]),
        ("removed", ["application_1"]),
    ],
)
def test_an_application_is_stopped_when_the_task_of_its_current_job_will_not_ask_for_it_again(store, state, stopped):
    calls = []
    done(store, "validate")
    cluster = Cluster(store.root)

    stop_orphans(store, cluster, lambda *task: calls.append(task) or state)

    assert calls == [("late", "manual__1", "train")]
    assert cluster.stopped == stopped


@pytest.mark.parametrize(
    ("left", "states", "stopped"),
    [
        pytest.param((), {"validate": "running", "train": None, "compare": None}, [], id="validate is at work"),
        pytest.param(("validate",), {"validate": "success", "train": None, "compare": None}, [], id="train's task has not begun"),
        pytest.param(("validate",), {"validate": "failed", "train": None, "compare": None}, [], id="what is done does not count"),
        pytest.param(("validate", "train"), {"validate": "success", "train": "success", "compare": None}, [], id="at compare"),
        pytest.param(("validate", "train", "compare"), dict.fromkeys(KEYS, "success"), [], id="about to end"),
        pytest.param(("validate",), {"validate": "success", "train": "failed", "compare": None}, ["application_1"], id="failed"),
    ],
)
def test_an_application_is_judged_by_its_first_job_without_a_document(store, left, states, stopped):
    cluster = Cluster(store.root)
    done(store, *left)

    stop_orphans(store, cluster, lambda model, run, step: states[step])

    assert cluster.stopped == stopped


def test_an_application_with_a_key_that_was_given_up_is_stopped_while_the_next_try_waits(store):
    store.create(f"runs/late/r/train-{KEYS['train']}.failed.json", b"{}")
    cluster = Cluster(store.root)

    (left,) = stop_orphans(store, cluster, lambda *_: "up_for_retry")

    assert left.why == "late train of manual__1 was recorded as failed"
    assert cluster.stopped == ["application_1"]
