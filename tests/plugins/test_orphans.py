"""Jobs that nobody waits for are stopped, and no others."""

import pytest

from contract import documents
from contract.store.local import LocalStore
from plugins.retraining.engines.base import Application, store_tag
from plugins.retraining.spark.job_runner import Ticket
from plugins.retraining.spark.orphans import stop_orphans
from tests.plugins.fakes import FakeEngine

KEY, OTHERS = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"


class Cluster(FakeEngine):
    """Two living applications: one of this store, and one with its tag but without a ticket."""

    def __init__(self, root: str) -> None:
        super().__init__()
        self.stopped: list[str] = []
        tags = [frozenset({key, store_tag(root), "model:late"}) for key in (KEY, OTHERS)]
        self.living = [Application(f"application_{number}", "running", tags=own_tags) for number, own_tags in enumerate(tags, 1)]

    def find(self, tag: str, live: bool = False) -> list[Application]:
        assert live
        return [application for application in self.living if tag in application.tags]

    def stop(self, id: str) -> None:
        self.stopped.append(id)


@pytest.fixture
def store(tmp_path):
    store = LocalStore(str(tmp_path))
    ticket = Ticket(model="late", run_id="manual__1", step="train", folder="runs/late/r")
    documents.write(store, f"jobs/{KEY}/ticket.json", ticket)
    return store


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
def test_a_job_is_stopped_when_its_task_will_not_ask_for_it_again(store, state, stopped):
    calls = []
    cluster = Cluster(store.root)

    stop_orphans(store, cluster, lambda *task: calls.append(task) or state)

    assert calls == [("late", "manual__1", "train")]
    assert cluster.stopped == stopped


def test_a_job_whose_key_was_given_up_is_stopped_while_the_next_try_waits(store):
    store.create(f"runs/late/r/train-{KEY}.failed.json", b"{}")
    cluster = Cluster(store.root)

    (left,) = stop_orphans(store, cluster, lambda *_: "up_for_retry")

    assert left.why == "late train of manual__1 was recorded as failed"
    assert cluster.stopped == ["application_1"]
