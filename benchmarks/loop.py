"""What the bundle adds: a whole run through Airflow, holds not counted, against the same Spark work in one bare script.

`python -m benchmarks.loop [--times 90]` with the demo's services running; `--times` copies of each flight make it large.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.timed_model import timed_model
from contract.documents import Release
from contract.platform import Platform
from contract.spark import merged, settings
from contract.spec import ModelSpec, parse_spec
from demo.airflow_api import Airflow
from demo.live import Live
from demo.loop import STEPS, Ended, follow
from demo.paths import HOME, ROOT, python_of

OUT = ROOT / ".build" / "bare"
FIRST = datetime(2013, 10, 1, tzinfo=UTC)
WINDOW_DAYS = 60
LARGE_GRID = {"stepSize": [0.1], "maxIter": [5, 10]}  # the bare run lasts five minutes and more at 5 million rows


def bare_seconds(live: Live, spec: Path, data: Path, as_of: datetime) -> float:
    shutil.rmtree(OUT, ignore_errors=True)
    arguments = ["--spec", spec, "--data", data, "--out", OUT, "--as-of", as_of.isoformat()]
    return spark_seconds(live.platform, parse_spec(spec.read_text(), spec), ROOT / "benchmarks" / "bare.py", *arguments)


def spark_seconds(platform: Platform, spec: ModelSpec, script: Path, *arguments: object) -> float:
    """From spark-submit to its end, with the settings that the platform and the model's file give."""
    packages = next(Path(ROOT / ".venv" / "spark").glob("lib/python3.*/site-packages"))
    given = settings(merged(platform.spark, spec.spark), platform.spark.limits)
    conf = [part for name, value in given.items() for part in ("--conf", f"{name}={value}")]
    submit = [packages / "pyspark" / "bin" / "spark-submit", "--master", "local[2]", *conf]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": python_of("spark"), "SPARK_HOME": str(packages / "pyspark")}
    started = time.monotonic()
    done = subprocess.run([str(part) for part in (*submit, script, *arguments)], env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{script.name} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.monotonic() - started


def bundle_run(airflow: Airflow, live: Live, model: str, data: Path, as_of: datetime) -> tuple[float, float, Ended]:
    """Seconds from the trigger to the end of the run; of these the holds; and the run."""
    started = time.monotonic()
    run = airflow.trigger(model, {"as_of": as_of.isoformat(), "data": str(data)})
    ended = follow(airflow, live, model, run)
    seconds = time.monotonic() - started
    path = airflow.xcom(model, run, "release")
    if not path:
        sys.exit(f"{model} {run} was not released, so it is no whole run: open it in the Airflow UI")
    return seconds, sum(step.seconds for step in live.document(path, Release).steps), ended


def copies(times: int, runs: int) -> Path:
    out = ROOT / ".build" / f"flights-times-{times}-{runs}"
    if not out.exists():
        days = {"first": (FIRST - timedelta(days=WINDOW_DAYS)).date(), "days": WINDOW_DAYS + runs}
        arguments = {"data": HOME / "data", "out": out, "times": times, **days}
        options = [part for name, value in arguments.items() for part in (f"--{name}", str(value))]
        subprocess.run([python_of("spark"), "-m", "benchmarks.replicated", *options], cwd=ROOT, check=True)
    return out


def compare(times: int, runs: int) -> None:
    airflow, live, rows = Airflow(), Live(), []
    large = times > 1
    data = copies(times, runs) if large else HOME / "data"
    with timed_model(airflow, "large" if large else "timed", LARGE_GRID if large else None) as spec:
        for number in range(runs):
            as_of = FIRST + timedelta(days=number)
            bare = bare_seconds(live, spec, data, as_of)
            whole, holds, ended = bundle_run(airflow, live, spec.stem, data, as_of)
            rows.append({"bare": bare, "bundle": whole - holds, "holds": holds, **{step: ended.seconds[step] for step in STEPS}})
            print(json.dumps({name: round(value, 1) for name, value in rows[-1].items()}), flush=True)
    added = [row["bundle"] - row["bare"] for row in rows]
    ratio = [row["bundle"] / row["bare"] for row in rows]
    print(f"added: median {statistics.median(added):.0f} s ({min(added):.0f} to {max(added):.0f}); target < 60 on the demo's data")
    print(f"bundle / bare: median {statistics.median(ratio):.2f} ({min(ratio):.2f} to {max(ratio):.2f}); target ≤ 1.20 at 5M rows")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    compare(arguments.times, arguments.runs)


if __name__ == "__main__":
    main()
