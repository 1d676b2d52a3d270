"""Measures and logs the seconds of each stage of a job."""

import logging
import time

log = logging.getLogger(__name__)


class StageTimer:
    """`lap` ends a stage: it logs one line and keeps the seconds since the previous stage."""

    def __init__(self, job: str):
        self.seconds: dict[str, float] = {}
        self._job = job
        self._last = time.monotonic()

    def lap(self, stage: str, message: str) -> None:
        now = time.monotonic()
        self.seconds[stage] = round(now - self._last, 3)
        self._last = now
        log.info(f"{self._job}: {message} ({self.seconds[stage]:.1f} s)")
