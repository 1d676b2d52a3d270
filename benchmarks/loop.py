"""What the bundle adds: a whole run through Airflow, holds not counted, against the same Spark work in one bare script.

`python -m benchmarks.loop [--data FOLDER] [--runs 3]` with the demo's services running (`make demo`).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path

from contract.documents import Release
from demo.airflow_api import Airflow
from demo.live import Live
from demo.loop import STEPS, Ended, follow
from demo.place import HOME, MODEL, ROOT, python_of

OUT = ROOT / ".build" / "bare"


def bare_seconds(live: Live, data: Path, as_of: datetime) -> float:
    """From spark-submit to its end, with the platform's own Spark settings."""
    shutil.rmtree(OUT, ignore_errors=True)
    packages = next(Path(ROOT / ".venv" / "spark").glob("lib/python3.*/site-packages"))
    conf = [part for name, value in live.platform.spark.conf.items() for part in ("--conf", f"{name}={_text(value)}")]
    asked = ["--spec", ROOT / "dags" / "models" / f"{MODEL}.yaml", "--data", data, "--out", OUT, "--as-of", as_of.isoformat()]
    command = [
        packages / "pyspark" / "bin" / "spark-submit",
        "--master",
        "local[2]",
        *conf,
        ROOT / "benchmarks" / "bare.py",
        *asked,
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": python_of("spark"), "SPARK_HOME": str(packages / "pyspark")}
    started = time.monotonic()
    subprocess.run([str(part) for part in command], env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - started


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def bundle_run(airflow: Airflow, live: Live, data: Path, as_of: datetime) -> tuple[float, float, Ended]:
    """Seconds from the trigger to the end of the run; of these the holds; and the run."""
    started = time.monotonic()
    run = airflow.trigger(MODEL, {"as_of": as_of.isoformat(), "data": str(data)})
    ended = follow(airflow, live, MODEL, run)
    seconds = time.monotonic() - started
    path = airflow.xcom(MODEL, run, "release")
    steps = live.document(path, Release).steps if path else ()
    return seconds, sum(step.seconds for step in steps), ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HOME / "data")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--as-of", type=datetime.fromisoformat, default=datetime.fromisoformat("2013-10-01T00:00:00+00:00"))
    asked = parser.parse_args()
    airflow, live = Airflow(), Live()
    rows = []
    for number in range(asked.runs):
        as_of = asked.as_of + timedelta(days=number)
        bare = bare_seconds(live, asked.data, as_of)
        whole, holds, ended = bundle_run(airflow, live, asked.data, as_of)
        rows.append({"bare": bare, "bundle": whole - holds, "holds": holds, **{step: ended.seconds.get(step) for step in STEPS}})
        print(json.dumps({name: value and round(value, 1) for name, value in rows[-1].items()}), flush=True)
    added = [row["bundle"] - row["bare"] for row in rows]
    ratio = [row["bundle"] / row["bare"] for row in rows]
    print(f"added: median {statistics.median(added):.0f} s ({min(added):.0f} to {max(added):.0f}); wanted < 60 on the demo's data")
    print(f"bundle / bare: median {statistics.median(ratio):.2f} ({min(ratio):.2f} to {max(ratio):.2f}); wanted ≤ 1.20 at 5M rows")


if __name__ == "__main__":
    main()
