"""A local job dies with its task: no orphan works on after its worker was killed."""

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

VARIABLE = "RETRAINING_PARENT"
ORPHANED = 70


class ParentProcess(NamedTuple):
    """A process id comes back for another process; with its start time (clock ticks since boot) it does not."""

    pid: int
    started: int


def watch_parents(every_s: float = 1.0) -> None:
    """Ends this process at once when a process of RETRAINING_PARENT (`pid:starttime,…`) is gone. Looks once before it returns."""
    parents = parse_parents(os.environ.get(VARIABLE, ""))
    if parents:
        leave_if_orphaned(parents)
        threading.Thread(target=_watch, args=(parents, every_s), name="parents", daemon=True).start()


def is_watched() -> bool:
    """Whether this process works for a task of its own host."""
    return bool(os.environ.get(VARIABLE))


def parse_parents(text: str) -> list[ParentProcess]:
    return [ParentProcess(*map(int, part.split(":"))) for part in text.split(",") if part]


def leave_if_orphaned(parents: list[ParentProcess]) -> None:
    for parent in parents:
        if not is_alive(parent):
            with contextlib.suppress(OSError):  # whoever read this may be gone, too
                print(f"process {parent.pid}, which this job works for, is gone: leaving", flush=True)
            os._exit(ORPHANED)  # nothing may delay the end, no shutdown hook and no other thread


def is_alive(process: ParentProcess) -> bool:
    """A killed process whose parent has not fetched its exit yet (Z, X) is gone."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    return state not in "ZX" and int(fields[18]) == process.started


def _watch(parents: list[ParentProcess], every_s: float) -> None:
    while True:
        time.sleep(every_s)
        leave_if_orphaned(parents)
