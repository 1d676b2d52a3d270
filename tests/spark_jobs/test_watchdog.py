"""A job ends itself after its time limit or without progress, whatever its main thread is blocked in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spark_jobs.runtime.watchdog import OVERDUE

ROOT = Path(__file__).parents[2]
JOB = """
import sys, time
from datetime import timedelta
from spark_jobs.runtime.watchdog import TimeLimits, Watchdog
from spark_jobs.runtime.session import start_session
spark = start_session("watched", {"spark.master": "local[1]", "spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1"})
whole, still = timedelta(seconds=float(sys.argv[1])), timedelta(seconds=float(sys.argv[2]))
said = [0]
report = lambda error: print(f"{type(error).__name__}: {error}", flush=True)
with Watchdog(spark, TimeLimits(whole, still), lambda: said[0], report, every_s=0.2):
    until = time.monotonic() + (14 if sys.argv[3] != "ends" else 1)
    while time.monotonic() < until:
        if sys.argv[3] == "works":
            spark.range(10).count()
        if sys.argv[3] == "talks":
            said[0] += 1
        time.sleep(0.2)
if sys.argv[3] == "ends":
    time.sleep(5)
print("ended by itself", flush=True)
"""


@pytest.mark.parametrize(
    ("whole", "still", "does", "code", "sentence"),
    [
        (3, 60, "works", OVERDUE, "OutOfTime: ran longer than 3s: raise spark.time_limit, or give it more executors"),
        (60, 3, "hangs", OVERDUE, "Stuck: made no progress for 3s with 0 executors: is the queue full, or a service"),
        (60, 10, "works", 0, "ended by itself"),
        (60, 8, "talks", 0, "ended by itself"),
        (3, 3, "ends", 0, "ended by itself"),  # the next job is watched on its own
    ],
)
def test_what_is_overdue_or_stuck_is_ended_and_told(whole, still, does, code, sentence):
    command = [sys.executable, "-c", JOB, str(whole), str(still), does]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)

    assert (done.returncode, done.stdout.partition("\n")[0][: len(sentence)]) == (code, sentence), done.stderr[-2000:]
