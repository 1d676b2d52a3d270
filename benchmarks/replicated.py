"""The demo's flights many times over, each copy with ids of its own; run in Spark's environment, which has pyarrow."""

import argparse
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def write(data: Path, out: Path, times: int, first: date, days: int) -> None:
    """`times` copies of each flight of these days, beside the same weather."""
    out.mkdir(parents=True)
    (out / "weather").symlink_to((data / "weather").resolve())
    for day in (first + timedelta(days=number) for number in range(days)):
        source, target = (root / "flights" / f"date={day}" for root in (data, out))
        target.mkdir(parents=True)
        table = pa.concat_tables(pq.read_table(file, partitioning=None) for file in sorted(source.glob("*.parquet")))
        pq.write_table(pa.concat_tables(_copy(table, number) for number in range(times)), target / "part-0.parquet")


def _copy(table: pa.Table, number: int) -> pa.Table:
    index = table.schema.get_field_index("flight_id")
    ids = pc.binary_join_element_wise(table["flight_id"], pa.scalar(str(number)), "#")
    return table.set_column(index, "flight_id", ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("data", Path), ("out", Path), ("times", int), ("first", date.fromisoformat), ("days", int)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    write(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
