import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from demo.flights import read_flights, read_weather, write

HEAD = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,"
    "carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour"
)
FLEW = "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z"
CANCELLED = "2013,1,1,NA,2030,NA,NA,2205,NA,EV,4308,NA,EWR,RDU,NA,416,20,30,2013-01-02T01:00:00Z"


def package(folder: Path, *flights: str) -> Path:
    with zipfile.ZipFile(folder / "flights.csv.zip", "w") as archive:
        archive.writestr("flights.csv", "\n".join([HEAD, *flights]) + "\n")
    return folder


def test_a_flight_keeps_its_columns_and_gets_an_id_and_its_utc_day(tmp_path: Path) -> None:
    flew, cancelled = read_flights(package(tmp_path, FLEW, CANCELLED)).to_pylist()

    assert (flew["flight_id"], flew["date"], flew["arr_delay"]) == ("2013-01-01-UA-1545-EWR", date(2013, 1, 1), 11.0)
    assert flew["time_hour"] == datetime(2013, 1, 1, 10, tzinfo=UTC)
    assert (cancelled["date"], cancelled["arr_delay"], cancelled["tailnum"]) == (date(2013, 1, 2), None, None)


def test_flights_that_share_an_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="1 flight ids are not unique"):
        read_flights(package(tmp_path, FLEW, FLEW))


def test_each_utc_day_is_a_folder(tmp_path: Path) -> None:
    write(read_flights(package(tmp_path, FLEW, CANCELLED)), tmp_path / "out" / "flights")

    assert sorted(path.name for path in (tmp_path / "out" / "flights").iterdir()) == ["date=2013-01-01", "date=2013-01-02"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["flights"]
    assert ds.dataset(tmp_path / "out" / "flights", partitioning="hive").count_rows() == 2
    (file,) = (tmp_path / "out" / "flights" / "date=2013-01-01").iterdir()
    assert str(pq.read_schema(file).field("time_hour").type) == "timestamp[us, tz=UTC]"


def test_weather_keeps_what_is_missing_as_null(tmp_path: Path) -> None:
    (tmp_path / "weather.csv").write_text("origin,wind_speed,time_hour\nEWR,NA,2013-01-01T06:00:00Z\n")

    (row,) = read_weather(tmp_path).to_pylist()

    assert (row["wind_speed"], row["date"]) == (None, date(2013, 1, 1))
