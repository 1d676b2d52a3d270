"""Ends an application on this host that no task waits for any more, such as after its worker was killed.

Whoever waits for one of its jobs renews the lease, a file on this host, by setting its time. An application between two tasks
of its run, or whose task was killed and is tried again, lives on: it ends with its whole process group when nobody has renewed the
lease for as long as the engine says.
"""

import logging
import os
import subprocess
import threading
import time
from pathlib import Path

log = logging.getLogger(__name__)
FILE, SECONDS = "RETRAINING_LEASE", "RETRAINING_LEASE_S"
CHECKS = 12  # within the time that a lease lasts
GRACE_S = 5


def watch_lease() -> None:
    """Watches the file that RETRAINING_LEASE names, if it is set: elsewhere Airflow's sweep stops what nobody waits for."""
    if path := os.environ.get(FILE):
        arguments = (Path(path), float(os.environ[SECONDS]))
        threading.Thread(target=_watch, args=arguments, name="lease", daemon=True).start()


def _watch(lease: Path, lasts_s: float) -> None:
    """Counts from the last change that it saw, by its own clock: a clock that is set does not end an application."""
    seen, since = _renewed(lease), time.monotonic()
    while time.monotonic() - since <= lasts_s:
        time.sleep(lasts_s / CHECKS)
        if (now := _renewed(lease)) != seen:
            seen, since = now, time.monotonic()
    log.info(f"no task has waited for this application for {lasts_s:.0f} s: it ends")
    _end_group()


def _renewed(lease: Path) -> int:
    """0 where the file is gone."""
    try:
        return lease.stat().st_mtime_ns
    except OSError:
        return 0


def _end_group() -> None:
    """SIGTERM first, so that Spark removes its scratch folders; from outside the group, as this process ends with it."""
    group = os.getpgrp()
    end = f"kill -TERM -{group}; sleep {GRACE_S}; kill -KILL -{group}"
    subprocess.Popen(["/bin/sh", "-c", end], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
