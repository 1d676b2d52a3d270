"""An hourly model: six simulated hours, run after run; seconds per run, and whether a backlog would grow."""

import statistics
import time
from datetime import UTC, datetime, timedelta

from demo.airflow_api import Airflow
from demo.live import Live
from demo.loop import follow
from demo.place import MODEL

HOURS = 6
FIRST = datetime(2013, 11, 1, tzinfo=UTC)


def main() -> None:
    airflow, live, seconds = Airflow(), Live(), []
    for hour in range(HOURS):
        started = time.monotonic()
        run = airflow.trigger(MODEL, {"as_of": (FIRST + timedelta(hours=hour)).isoformat()})
        ended = follow(airflow, live, MODEL, run)
        seconds.append(time.monotonic() - started)
        print(f"  hour {hour + 1}: {seconds[-1]:.0f} s, {ended.state}", flush=True)
    longest = max(seconds)
    print(f"seconds a run: median {statistics.median(seconds):.0f} (from {min(seconds):.0f} to {longest:.0f}); an hour has 3,600")


if __name__ == "__main__":
    main()
