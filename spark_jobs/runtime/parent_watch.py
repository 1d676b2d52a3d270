"""Ends a local job with its task, so that no orphan goes on after the worker was killed."""

import contextlib
import logging
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)
VARIABLE = "RETRAINING_PARENT"
ORPHANED = 70


class ParentProcess(NamedTuple):
    """Process ids are reused; with the start time (clock ticks since boot) a process is unique."""

    pid: int
    started: int


def watch_parents(every_s: float = 1.0) -> None:
    """Ends this process when one of RETRAINING_PARENT (`pid:starttime,…`) is gone. Checks once before it returns."""
    parents = parse_parents(os.environ.get(VARIABLE, ""))
    if parents:
        leave_if_orphaned(parents)
        threading.Thread(target=_watch, args=(parents, every_s), name="parents", daemon=True).start()


def is_watched() -> bool:
    """Whether this process has parents on the same host to watch."""
    return bool(os.environ.get(VARIABLE))


def parse_parents(text: str) -> list[ParentProcess]:
    return [ParentProcess(*map(int, part.split(":"))) for part in text.split(",") if part]


def leave_if_orphaned(parents: list[ParentProcess]) -> None:
    for parent in parents:
        if not is_alive(parent):
            with contextlib.suppress(OSError):  # the reader of stdout may be gone as well
                log.info(f"process {parent.pid}, which this job works for, is gone: leaving")
            os._exit(ORPHANED)  # no shutdown hook and no other thread may delay the exit


def is_alive(process: ParentProcess) -> bool:
    """A zombie (state Z or X) counts as gone."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may contain blanks and brackets
    return state not in "ZX" and int(fields[18]) == process.started


def _watch(parents: list[ParentProcess], every_s: float) -> None:
    while True:
        time.sleep(every_s)
        leave_if_orphaned(parents)
