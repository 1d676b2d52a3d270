"""`make bench`: all figures of the README, with the demo's services running."""

import sys

from benchmarks import hourly, loop, router, serving
from demo import services

FIGURES = {
    "what the bundle adds to bare Spark": lambda: loop.compare(times=1, runs=3),
    "what it adds at five million rows": lambda: loop.compare(times=90, runs=3),
    "an hourly model": hourly.main,
    "one core of serving": serving.main,
    "the router for ten minutes": router.main,
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
