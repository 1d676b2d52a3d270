"""Copies of the demo's flights with upstream faults: `python -m demo.corrupt FAULT --data FOLDER --out FOLDER --as-of DAY`."""

import argparse
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

HOLDOUT_DAYS = 14
WINDOW_DAYS = 62


def unit_changed(table: pa.Table) -> pa.Table:
    """Someone upstream began to write delays in seconds, and lost the carrier of every third flight."""
    rows = np.arange(table.num_rows)
    carrier = pc.if_else(pa.array(rows % 3 == 0), pa.scalar(None, pa.string()), table["carrier"].cast(pa.string()))
    return _with(table, carrier=carrier, dep_delay=pc.multiply(table["dep_delay"].cast(pa.float64()), 60.0))


def labels_shuffled(table: pa.Table) -> pa.Table:
    """A join gone wrong: each flight has the arrival delay of another."""
    order = np.random.default_rng(13).permutation(table.num_rows)
    return _with(table, arr_delay=table["arr_delay"].take(pa.array(order)))


def _with(table: pa.Table, **columns: pa.ChunkedArray) -> pa.Table:
    for name, values in columns.items():
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(index), values.cast(table.schema.field(index).type))
    return table


def days_of(fault: str, as_of: date) -> set[date]:
    """Which days are faulty: one day near the end, or all that a model would be trained on."""
    if fault == "unit_changed":
        return {as_of - timedelta(days=3)}
    return {as_of - timedelta(days=back) for back in range(HOLDOUT_DAYS, WINDOW_DAYS + 1)}


def write(data: Path, out: Path, fault: str, as_of: date) -> None:
    """A data root beside the good one; days without a fault are links to it."""
    out.mkdir(parents=True, exist_ok=True)
    _link(data / "weather", out / "weather")
    faulty = {f"date={day}" for day in days_of(fault, as_of)}
    for folder in sorted((data / "flights").iterdir()):
        target = out / "flights" / folder.name
        target.parent.mkdir(exist_ok=True)
        if folder.name not in faulty:
            _link(folder, target)
            continue
        target.mkdir(exist_ok=True)
        for file in folder.glob("*.parquet"):
            pq.write_table(
                {"unit_changed": unit_changed, "labels_shuffled": labels_shuffled}[fault](pq.read_table(file)), target / file.name
            )


def _link(good: Path, target: Path) -> None:
    if not target.exists():
        target.symlink_to(good.resolve())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fault", choices=["unit_changed", "labels_shuffled"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--as-of", type=date.fromisoformat, required=True)
    arguments = parser.parse_args()
    write(arguments.data, arguments.out, arguments.fault, arguments.as_of)


if __name__ == "__main__":
    main()
