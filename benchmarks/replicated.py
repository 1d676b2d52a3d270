"""The demo's flights many times over, each copy with ids of its own: `--data FOLDER --out FOLDER --times N`."""

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def write(data: Path, out: Path, times: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "weather").symlink_to((data / "weather").resolve())
    for folder in sorted((data / "flights").iterdir()):
        target = out / "flights" / folder.name
        target.mkdir(parents=True)
        table = pa.concat_tables(pq.read_table(file) for file in folder.glob("*.parquet"))
        pq.write_table(pa.concat_tables(_copy(table, number) for number in range(times)), target / "part-0.parquet")


def _copy(table: pa.Table, number: int) -> pa.Table:
    index = table.schema.get_field_index("flight_id")
    ids = pc.binary_join_element_wise(table["flight_id"], pa.scalar(str(number)), "#")
    return table.set_column(index, "flight_id", ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--times", type=int, required=True)
    asked = parser.parse_args()
    write(asked.data, asked.out, asked.times)


if __name__ == "__main__":
    main()
