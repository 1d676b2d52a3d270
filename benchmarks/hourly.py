"""An hourly model: six simulated hours, run after run; seconds per run, and whether a backlog would grow."""

import statistics
import time
from datetime import UTC, datetime, timedelta

from benchmarks.timed_model import timed_model
from demo.airflow_api import Airflow
from demo.live import Live
from demo.loop import follow

HOURS = 6
FIRST = datetime(2013, 11, 1, tzinfo=UTC)


def main() -> None:
    airflow, live, seconds = Airflow(), Live(), []
    with timed_model(airflow, "hourly") as spec:
        for hour in range(HOURS):
            started = time.monotonic()
            run = airflow.trigger(spec.stem, {"as_of": (FIRST + timedelta(hours=hour)).isoformat()})
            ended = follow(airflow, live, spec.stem, run)
            seconds.append(time.monotonic() - started)
            image = live.champion(spec.stem)
            status = f"live is version {image.version}, as of {image.as_of:%H:%M}" if image else "nothing is live"
            print(f"  hour {hour + 1}: {seconds[-1]:.0f} s, {ended.state}; {status}", flush=True)
    longest = max(seconds)
    print(f"seconds a run: median {statistics.median(seconds):.0f} (from {min(seconds):.0f} to {longest:.0f}); an hour has 3,600")


if __name__ == "__main__":
    main()
