"""Ends a job from inside where it exceeds its time limit or makes no progress."""

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from pyspark.sql import SparkSession

from contract.base_model import format_duration
from contract.errors import OutOfTime, RetrainingError, TransientError

EVERY_S = 5.0
OVERDUE = 71


class Stuck(TransientError):
    """No Spark task has ended and nothing was printed within the no-progress limit."""


def watch(
    spark: SparkSession,
    limits: tuple[timedelta, timedelta],
    printed_lines: Callable[[], int],
    report: Callable[[RetrainingError], object],
    every_s: float = EVERY_S,
) -> None:
    """`limits`: of the whole job, and without progress; `printed_lines`: count of the job's output lines (progress as well)."""
    threading.Thread(target=_watch, args=(spark, *limits, printed_lines, report, every_s), name="watchdog", daemon=True).start()


def _watch(
    spark: SparkSession,
    whole: timedelta,
    no_progress: timedelta,
    printed_lines: Callable[[], int],
    report: Callable[[RetrainingError], object],
    every_s: float,
) -> None:
    started = progressed = time.monotonic()
    last: tuple[int, ...] = ()
    while True:
        time.sleep(every_s)
        now, seen = time.monotonic(), (finished_tasks(spark), printed_lines())
        if seen != last:
            last, progressed = seen, now
        if now - started > whole.total_seconds():
            _leave(
                report, OutOfTime(f"ran longer than {format_duration(whole)}: raise spark.time_limit, or give it more executors")
            )
        if now - progressed > no_progress.total_seconds():
            message = f"made no progress for {format_duration(no_progress)} with {executors(spark)} executors"
            _leave(
                report,
                Stuck(f"{message}: is the queue full, or a service that it waits for unavailable? Clear this task to try again"),
            )


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
