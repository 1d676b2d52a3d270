"""Ends a job from inside where it exceeds its time limit or makes no progress."""

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from pyspark.sql import SparkSession

from contract.base_model import format_duration
from contract.documents import JobRequest
from contract.errors import OutOfTime, RetrainingError, TransientError
from contract.spark import merged

EVERY_S = 5.0
OVERDUE = 71
NO_PROGRESS = timedelta(minutes=30)


class Stuck(TransientError):
    """No Spark task has ended and nothing was printed within the no-progress limit."""


class TimeLimits(NamedTuple):
    """Of the whole job, and without progress."""

    whole: timedelta
    no_progress: timedelta


def limits_of(request: JobRequest) -> TimeLimits:
    resources = merged(request.run.platform.spark, request.run.spec.spark)
    return TimeLimits(resources.time_limit or request.run.spec.deadline, resources.no_progress or NO_PROGRESS)


class Watchdog:
    """Watches one job, from entering to leaving the context; `printed_lines`: count of its output lines (progress as well)."""

    def __init__(
        self,
        spark: SparkSession,
        limits: TimeLimits,
        printed_lines: Callable[[], int],
        report: Callable[[RetrainingError], object],
        every_s: float = EVERY_S,
    ) -> None:
        self._spark, self._limits, self._printed_lines, self._report, self._every_s = spark, limits, printed_lines, report, every_s
        self._ended = threading.Event()

    def __enter__(self) -> None:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _watch(self) -> None:
        started = progressed = time.monotonic()
        last: tuple[int, ...] = ()
        while not self._ended.wait(self._every_s):
            now, seen = time.monotonic(), (finished_tasks(self._spark), self._printed_lines())
            if seen != last:
                last, progressed = seen, now
            if error := self._exceeded(now - started, now - progressed):
                _leave(self._report, error)

    def _exceeded(self, age_s: float, idle_s: float) -> RetrainingError | None:
        whole, no_progress = self._limits
        if age_s > whole.total_seconds():
            return OutOfTime(f"ran longer than {format_duration(whole)}: raise spark.time_limit, or give it more executors")
        if idle_s > no_progress.total_seconds():
            message = f"made no progress for {format_duration(no_progress)} with {executors(self._spark)} executors"
            return Stuck(f"{message}: is the queue full, or a service that it waits for unavailable? Clear this task to try again")
        return None


def finished_tasks(spark: SparkSession) -> int:
    """Count over all executors, also ended ones; −1 when the session is gone."""
    try:
        known = spark.sparkContext._jsc.sc().statusStore().executorList(False)
        return sum(known.apply(number).completedTasks() for number in range(known.size()))
    except Exception:
        return -1


def executors(spark: SparkSession) -> int:
    """Live executors without the driver; 0 when the session is gone."""
    try:
        live: int = spark.sparkContext._jsc.sc().statusStore().executorList(True).size()
        return live - 1
    except Exception:
        return 0


def _leave(report: Callable[[RetrainingError], object], error: RetrainingError) -> None:
    """Reports and exits at once: the main thread may hang in the JVM."""
    try:
        report(error)
    finally:
        os._exit(OVERDUE)
