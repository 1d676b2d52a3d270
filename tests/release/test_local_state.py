"""The controller's own copy of each model's last entry."""

import os
from pathlib import Path

import pytest

from release.controller.local_state import LocalRecord, LocalState
from release.ledger.entries import State
from tests.release.fakes import FakeWorld


@pytest.fixture
def record(tmp_path: Path) -> LocalRecord:
    world = FakeWorld(tmp_path / "host")
    world.put_live(1)
    return LocalRecord(entry=world.ledger.last("late"), ahead=State())


def test_a_record_is_on_disk_when_it_was_put(tmp_path: Path, record: LocalRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file before it gets its name, and the folder after that: a power cut in between leaves the older record."""
    synced, sync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.readlink(f"/proc/self/fd/{handle}")), sync(handle)))

    LocalState(tmp_path / "copies").put("late", record)

    assert [Path(path).name.partition("-")[0] for path in synced] == [".new", "copies"]


def test_a_record_is_there_after_a_restart(tmp_path: Path, record: LocalRecord) -> None:
    LocalState(tmp_path / "copies").put("late", record)

    assert LocalState(tmp_path / "copies").get("late") == record


def test_what_cannot_be_written_is_kept_in_memory(tmp_path: Path, record: LocalRecord) -> None:
    state = LocalState(tmp_path / "copies")
    (tmp_path / "copies").rmdir()
    (tmp_path / "copies").write_text("a file where the folder was")

    state.put("late", record)

    assert state.get("late") == record
