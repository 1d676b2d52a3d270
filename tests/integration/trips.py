"""Trips to learn from, the same ones each time: `python tests/integration/trips.py FOLDER`, in Spark's environment."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FIRST = datetime(2013, 3, 1, tzinfo=UTC)
DAYS, PER_DAY = 60, 150


def trips() -> pa.Table:
    """Late where it is windy and far, with a good deal of chance."""
    random = np.random.default_rng(7)
    count = DAYS * PER_DAY
    distance, wind = random.uniform(10, 500, count), random.uniform(0, 30, count)
    late = random.uniform(size=count) < 1 / (1 + np.exp(5 - 0.2 * wind - 0.005 * distance))
    left_at = [FIRST + timedelta(days=1) * (i / PER_DAY) for i in range(count)]
    return pa.table(
        {
            "trip_id": [f"trip-{i}" for i in range(count)],
            "left_at": pa.array(left_at, pa.timestamp("us", "UTC")),
            "distance": distance,
            "wind": wind,
            "carrier": random.choice(["AA", "B6", "UA"], count),
            "late": late,
        }
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    pq.write_table(trips(), folder / "trips.parquet")
