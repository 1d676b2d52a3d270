"""A job ends itself after its time limit or without progress, whatever its main thread is blocked in."""

import os
import subprocess
import sys
from pathlib import Path

from spark_jobs.runtime.watchdog import OVERDUE

ROOT = Path(__file__).parents[2]
JOBS = """
import sys, time
from datetime import timedelta
from spark_jobs.runtime.watchdog import TimeLimits, Watchdog
from spark_jobs.runtime.session import start_session
spark = start_session("watched", {"spark.master": "local[1]", "spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1"})
spark.range(10).count()  # a first query takes seconds, without progress
said = [0]
report = lambda error: print(f"{type(error).__name__}: {error}", flush=True)
for job in sys.argv[1:]:
    does, whole, still, lasts = job.split(",")
    limits = TimeLimits(timedelta(seconds=float(whole)), timedelta(seconds=float(still)))
    with Watchdog(spark, limits, lambda: said[0], report, every_s=0.2):
        until = time.monotonic() + float(lasts)
        while time.monotonic() < until:
            if does == "works":
                spark.range(10).count()
            if does == "talks":
                said[0] += 1
            time.sleep(0.2)
    print(f"{does}: ended by itself", flush=True)
"""


def output_of(*jobs: str) -> tuple[int, list[str]]:
    """Exit code and lines of a process that does these one after another: what it does, both limits and how long it lasts."""
    command, environment = [sys.executable, "-c", JOBS, *jobs], {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr[-2000:]
    return done.returncode, done.stdout.splitlines()


def test_a_job_beyond_its_time_limit_is_ended_and_told_though_it_works():
    code, (sentence,) = output_of("works,3,60,60")

    assert code == OVERDUE
    assert sentence.startswith("OutOfTime: ran longer than 3s: raise spark.time_limit, or give it more executors")


def test_only_a_job_that_neither_works_nor_talks_is_ended_and_told():
    """One job after another, as an application does a run's; each is watched on its own, and not after its end."""
    code, lines = output_of("works,60,6,8", "talks,60,5,7", "ends,3,3,1", "hangs,60,4,60")

    assert code == OVERDUE
    assert lines[:-1] == ["works: ended by itself", "talks: ended by itself", "ends: ended by itself"]
    assert lines[-1].startswith("Stuck: made no progress for 4s with 0 executors: is the queue full, or a service")
