"""Old snapshots and runs are removed by a DAG of their own; tests/plugins/test_retention_rules.py has what goes and what stays."""

import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contract.store.local import LocalStore
from plugins.retraining.catalog import platform_for
from plugins.retraining.maintenance.dags import retention_dag
from tests.plugins import airflow_internals as internals
from tests.plugins.conftest import HOME
from tests.plugins.runner import Run, start

STORE = HOME / "store"
NOW = datetime(2013, 6, 15, 6, tzinfo=UTC)
WEEKS_AGO = time.time() - 20 * 86_400


@pytest.fixture
def store() -> LocalStore:
    """One snapshot, of a run of three weeks ago."""
    shutil.rmtree(STORE, ignore_errors=True)
    store = LocalStore(str(STORE))
    for path in ("runs/late/r/run-0.json", "runs/late/r/validate-1.json", "snapshots/late/1/parcels/part-0.parquet"):
        store.create(path, b'{"run_id": "r"}')
        os.utime(STORE / path, (WEEKS_AGO, WEEKS_AGO))
    return store


@pytest.fixture
def go(airflow: None, bundle: Path, store: LocalStore) -> Callable[..., Run]:
    dag = retention_dag(platform_for(bundle / "dags" / "models" / "late.yaml"))
    return lambda **conf: start(dag, lambda: None, due=NOW, conf=conf).go()


def test_what_is_old_is_removed_and_counted(go, store, inbox):
    run = go()

    assert (run.state, run.xcom("remove")) == ("success", {"snapshots": 1, "runs": 0, "jobs": 0, "files": 1})
    assert (store.names("snapshots/late"), store.names("runs/late")) == ([], ["r"])
    assert inbox.slack == []


def test_a_dry_run_removes_nothing(go, store):
    run = go(dry_run=True)

    assert run.xcom("remove") == {"snapshots": 1, "runs": 0, "jobs": 0, "files": 0}
    assert store.names("snapshots/late") == ["1"]


def test_what_was_not_removed_is_notified(go, store, inbox):
    store.create("ledger/late/00000002.json", b"{}")

    assert go().state == "failed"
    assert store.names("snapshots/late") == ["1"]
    assert [text.splitlines()[0] for text in inbox.slack] == ["*retention: removal incomplete*"]
    assert "late: " in inbox.slack[0]


def test_the_platforms_dags_are_at_work_without_being_switched_on(airflow, bundle):
    bag = internals.parsed(bundle / "dags" / "maintenance.py")

    assert bag.import_errors == {}
    assert {name: dag.timetable.expression for name, dag in bag.dags.items()} == {
        "retraining_reconcile": "* * * * *",
        "retraining_retention": "30 3 * * *",
    }
    assert all(dag.is_paused_upon_creation is False and dag.max_active_runs == 1 and not dag.catchup for dag in bag.dags.values())
    assert {task.task_id: task.upstream_task_ids for dag in bag.dags.values() for task in dag.tasks} == {
        "notify": set(),
        "compare_with_ledger": set(),
        "remove": set(),
    }


def test_a_platform_that_cannot_be_used_has_none(bundle, monkeypatch):
    monkeypatch.setenv("RETRAINING_PLATFORM", "no/such/platform.yaml")

    bag = internals.parsed(bundle / "dags" / "maintenance.py")

    assert (bag.import_errors, bag.dags) == ({}, {})
