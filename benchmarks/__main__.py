"""`make bench`: the figures of the README, with the demo's services running; those of YARN, where the demo is on YARN."""

import os
import subprocess
import sys

from benchmarks import cold, growth, hourly, images, loop, makespan, memory, releases, router, serving, straight
from demo import services
from demo.paths import HOME, MLFLOW_URL, ROOT, platform, python_of


def in_spark(script: str, *options: str) -> None:
    """With one thread of numpy per process."""
    run_in("spark", script, *options, OPENBLAS_NUM_THREADS="1")


def run_in(environment: str, script: str, *options: str, **more: str) -> None:
    """In one of the environments in .venv/."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    subprocess.run([python_of(environment), "-m", f"benchmarks.{script}", *options], cwd=ROOT, env=env, check=True)


FIGURES = {
    "what the bundle adds to bare Spark": lambda: loop.compare(times=1, runs=3),
    "what it adds at five million rows": lambda: loop.compare(times=90, runs=3),
    "one run's Spark part, cold": cold.main,
    "its peak of memory": memory.main,
    "an hourly model": hourly.main,
    "one core of serving": serving.main,
    "the router for ten minutes": router.main,
    "what the router costs": straight.main,
    "releases and rollbacks under load": releases.main,
    "an image of a new version": images.main,
    "how often the gate is wrong": lambda: in_spark("gate_errors"),
    "its table and picture in the README": lambda: in_spark("gate_figure"),
    "what a yearly budget holds and costs": lambda: in_spark("gate_budget"),
    "the same through Spark": lambda: in_spark("gate_through_spark"),
    "a year of flights under several gates": lambda: in_spark("gate_year", "--data", str(HOME / "data")),
    "searches beside Spark's": lambda: in_spark("search", "--data", str(HOME / "data")),
    "what comparing costs beyond scoring": lambda: in_spark("gate_cost"),
    "what validate and compare take, also of wide tables": lambda: in_spark(
        "queries", "--data", str(HOME / "data"), "--mlflow", MLFLOW_URL
    ),
}

FIGURES_ON_YARN = {
    "what a job on YARN costs its task": lambda: run_in("airflow", "submission"),
    "the loop on YARN and beside its worker, from 0.3 to 10 million rows": growth.main,
    "twenty models on one cluster": makespan.main,
    "its picture": lambda: in_spark("makespan_figure"),
}


def main() -> int:
    if not services.running():
        print("bench: the demo's services are not running: run `make demo` first", file=sys.stderr)
        return 1
    for title, measure in (FIGURES_ON_YARN if platform().stem == "yarn" else FIGURES).items():
        print(f"\n{title}", flush=True)
        measure()
    return 0


if __name__ == "__main__":
    sys.exit(main())
