"""What is removed when it is old enough, and what never is."""

import json
import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.documents import ANCHOR, Image
from contract.platform import Retention
from contract.store.local import LocalStore
from plugins.retraining.maintenance.retention import NotAllRemoved, remove_expired
from release.ledger.entries import Draft, State
from release.ledger.ledger import Ledger

LIMITS = Retention()  # 14 days for snapshots, 400 for runs
LOG = logging.getLogger("test")
HOURS = timedelta(hours=1)
DAYS = timedelta(days=1)


def image(version: int, anchor: int | None = None, run: str = "") -> Image:
    labels = {"retraining.run": run or f"run of {version}"} | ({ANCHOR: str(anchor)} if anchor else {})
    as_of = datetime(2013, 6, version, tzinfo=UTC)
    return Image(model="late", version=version, as_of=as_of, digest=f"d{version}", reference="r", size=1, labels=labels)


def a_run(store, version: int, **documents: object) -> None:
    """A run of `late` as it is left, with its snapshot; `documents` change, add or (None) take away."""
    key = f"{version:032x}"
    usual = {
        "run-0": {"run_id": f"run of {version}"},
        f"validate-{key}.request": {},
        f"validate-{key}": {},
        f"package-{key}": {"version": version},
    }
    for name, content in {**usual, **documents}.items():
        if content is not None:
            store.create(f"runs/late/run-of-{version}/{name}.json", json.dumps(content).encode())
    store.create(f"snapshots/late/{key}/parcels/part-0.parquet", b"rows")
    store.create(f"snapshots/late/{key}/parcels/_SUCCESS", b"")


def record(store, **state: object) -> None:
    ledger = Ledger(store)
    ledger.append("late", ledger.last("late"), Draft(who="test", why="test", what="test", state=State(**state)))


def left(store) -> tuple[list[int], list[int]]:
    """The versions whose snapshots are there, and those whose runs are."""
    snapshots = [int(key, 16) for key in store.names("snapshots/late")]
    return snapshots, sorted(int(name.removeprefix("run-of-")) for name in store.names("runs/late"))


def clean(store, after: timedelta, limits: Retention = LIMITS, dry_run: bool = False) -> dict[str, int]:
    return remove_expired(store, limits, datetime.now(UTC) + after, dry_run, LOG)


@pytest.mark.parametrize(
    ("after", "snapshots", "runs", "counts"),
    [
        (13 * DAYS, [1, 2, 3, 4, 5], [1, 2, 3, 4, 5], {"snapshots": 0, "runs": 0, "jobs": 0, "files": 0}),
        (15 * DAYS, [1, 3, 4], [1, 2, 3, 4, 5], {"snapshots": 2, "runs": 0, "jobs": 0, "files": 4}),
        (401 * DAYS, [1, 3, 4], [1, 3, 4], {"snapshots": 2, "runs": 2, "jobs": 0, "files": 12}),
    ],
)
def test_what_the_live_version_the_previous_one_and_the_anchor_came_from_stays(store, after, snapshots, runs, counts):
    for version in (1, 2, 3, 4, 5):
        a_run(store, version)
    record(store, live=image(4, anchor=1), previous=image(3))

    assert clean(store, after) == counts
    assert left(store) == (snapshots, runs)
    assert store.names("ledger/late/00000") == ["00000001.json"]


def test_a_second_time_finds_nothing(store):
    a_run(store, 1)
    clean(store, 401 * DAYS)

    assert clean(store, 401 * DAYS) == {"snapshots": 0, "runs": 0, "jobs": 0, "files": 0}
    assert left(store) == ([], [])


def test_a_dry_run_removes_nothing_and_tells_what_would_go(store, caplog):
    a_run(store, 1)

    with caplog.at_level(logging.INFO, LOG.name):
        assert clean(store, 401 * DAYS, dry_run=True) == {"snapshots": 1, "runs": 1, "jobs": 0, "files": 0}

    assert left(store) == ([1], [1])
    lines = [record.getMessage() for record in caplog.records if record.name == LOG.name]
    assert [line.partition(", last used")[0] for line in lines] == [
        "would remove snapshots/late/00000000000000000000000000000001",
        "would remove runs/late/run-of-1",
    ]


@pytest.mark.parametrize(
    ("after", "documents", "stays"),
    [
        (23 * HOURS, {"validate-{key}": None}, True),
        (25 * HOURS, {"validate-{key}": None}, False),  # its job died
        (25 * HOURS, {"validate-{key}": None, "validate-{key}.error": {}, "validate-{key}.failed": {}}, False),
        (25 * HOURS, {"validate-{key}": None, "validate-{key}.report": {}}, True),  # bad rows, that somebody may want to see
        (15 * DAYS, {"validate-{key}": None, "validate-{key}.report": {}}, False),
    ],
)
def test_a_snapshot_that_no_report_names_stays_a_day(store, after, documents, stays):
    a_run(store, 1, **{name.format(key=f"{1:032x}"): content for name, content in documents.items()})

    clean(store, after)

    assert left(store) == ([1] if stays else [], [1])


def test_a_snapshot_without_a_run_goes_by_its_own_age(store):
    a_run(store, 1)
    store.remove("runs/late")

    clean(store, 13 * DAYS)
    assert left(store) == ([1], [])
    clean(store, 15 * DAYS)
    assert left(store) == ([], [])


@pytest.mark.parametrize(
    "documents",
    [
        {"run-0": None},  # whose run it was is unknown
        {"run-0": {"of": "another kind"}},
        {f"package-{1:032x}": {}},  # so is what it led to
        {"run-0": ["no", "object"]},
    ],
)
def test_what_cannot_be_judged_stays(store, documents):
    a_run(store, 1, **documents)

    clean(store, 500 * DAYS)

    assert left(store) == ([1], [1])


def test_a_run_is_kept_by_the_label_of_its_image_as_well(store):
    a_run(store, 2, **{f"package-{2:032x}": None})
    record(store, live=image(7, run="run of 2"))

    clean(store, 500 * DAYS)

    assert left(store) == ([2], [2])


def test_a_version_that_waits_for_its_release_keeps_its_run(store):
    a_run(store, 5)
    record(store, checked=image(5))

    clean(store, 500 * DAYS)

    assert left(store) == ([5], [5])


def test_a_run_and_its_snapshots_go_together_where_runs_are_kept_shorter(store):
    a_run(store, 1)

    clean(store, 3 * DAYS, Retention(snapshots=14 * DAYS, runs=2 * DAYS))

    assert left(store) == ([], [])


def test_nothing_goes_within_a_day_whatever_the_platform_says(store):
    a_run(store, 1)

    clean(store, 23 * HOURS, Retention(snapshots=HOURS, runs=HOURS))

    assert left(store) == ([1], [1])


def test_a_ledger_that_is_broken_or_gone_keeps_all_of_its_model_and_others_are_cleaned(store):
    a_run(store, 1, **{"check-1": {}})
    store.create("runs/early/run-1/run-0.json", b'{"run_id": "r"}')

    with pytest.raises(
        NotAllRemoved, match=r"^1 model\(s\) could not be cleaned, .*'runs': 1.*: late: .*/ledger/late is empty, but there"
    ):
        clean(store, 500 * DAYS)

    store.create("ledger/late/00000/00000002.json", b"{}")
    with pytest.raises(NotAllRemoved, match=r"late: .*/ledger/late/00000/00000001.json is missing"):
        clean(store, 500 * DAYS)
    assert left(store) == ([1], [1])
    assert store.names("runs/early") == []


def test_a_run_that_was_cleared_lately_is_at_work_again(tmp_path):
    store = LocalStore(str(tmp_path))
    for version in (1, 2):
        a_run(store, version)
    weeks_ago = (datetime.now(UTC) - 20 * DAYS).timestamp()
    for path in Path(tmp_path).rglob("*"):
        os.utime(path, (weeks_ago, weeks_ago))
    store.create("runs/late/run-of-2/train-2.request.json", b"{}")

    clean(store, 0 * DAYS)

    assert left(store) == ([2], [1, 2])


def test_tickets_and_event_logs_of_old_jobs_go(tmp_path):
    store = LocalStore(str(tmp_path))
    for path in ("jobs/0a/ticket.json", "events/application_1/part-0", "events/.keep"):
        store.create(path, b"{}")

    assert clean(store, 399 * DAYS)["jobs"] == 0
    assert clean(store, 401 * DAYS) == {"snapshots": 0, "runs": 0, "jobs": 2, "files": 2}
    assert (store.names("jobs"), store.names("events")) == ([], [])
    assert store.read("events/.keep") is not None
