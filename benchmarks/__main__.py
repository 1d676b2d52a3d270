"""`make bench`: all figures of the README, with the demo's services running."""

import os
import subprocess
import sys

from benchmarks import hourly, images, loop, releases, router, serving, straight
from demo import services
from demo.place import HOME, ROOT, python_of


def in_spark(script: str, *options: str) -> None:
    """In Spark's environment; one thread of numpy in each of its processes."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([python_of("spark"), "-m", f"benchmarks.{script}", *options], cwd=ROOT, env=env, check=True)


FIGURES = {
    "what the bundle adds to bare Spark": lambda: loop.compare(times=1, runs=3),
    "what it adds at five million rows": lambda: loop.compare(times=90, runs=3),
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
    "what comparing costs beyond scoring": lambda: in_spark("gate_cost"),
}


def main() -> int:
    if not services.running():
        print("bench: the demo's services are not running: run `make demo` first", file=sys.stderr)
        return 1
    for title, measure in FIGURES.items():
        print(f"\n{title}", flush=True)
        measure()
    return 0


if __name__ == "__main__":
    sys.exit(main())
