import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from contract.errors import BadData
from contract.source import Source
from spark_jobs.data.sources import read_source, read_sources

AS_OF = datetime(2026, 1, 10, 6, tzinfo=UTC)
BY_DAY = Source(format="parquet", path="flights", time_column="at", partition_column="date", window="2d")
PLANES = Source(
    format="csv", path="planes.csv", columns={"tail": "string", "seats": "int", "built": "date"}, options={"nullValue": "NA"}
)


def write_days(spark: SparkSession, folder: Path, *rows: tuple[str, str, str]) -> None:
    frame = spark.createDataFrame(rows, "id string, at string, date string")
    frame.selectExpr("id", "cast(at AS timestamp) AS at", "date").write.partitionBy("date").parquet(str(folder / "flights"))


def write_text(folder: Path, name: str, *lines: str) -> str:
    (folder / name).write_text("\n".join(lines) + "\n")
    return str(folder)


def test_the_window_includes_its_first_moment_and_not_its_last(spark: SparkSession, tmp_path: Path) -> None:
    write_days(
        spark,
        tmp_path,
        ("before", "2026-01-08 05:59:59", "2026-01-08"),
        ("first", "2026-01-08 06:00:00", "2026-01-08"),
        ("last", "2026-01-10 05:59:59", "2026-01-10"),
        ("later", "2026-01-10 06:00:00", "2026-01-10"),
    )

    rows = read_source(spark, str(tmp_path), BY_DAY, AS_OF)

    assert sorted(row.id for row in rows.collect()) == ["first", "last"]


def test_folders_of_days_outside_the_window_are_not_opened(spark: SparkSession, tmp_path: Path) -> None:
    write_days(spark, tmp_path, ("in", "2026-01-09 12:00:00", "2026-01-09"))
    for day in ("2026-01-12", "2026-03-01"):
        folder = tmp_path / "flights" / f"date={day}"
        folder.mkdir()
        (folder / "part-0.parquet").write_text("this is not Parquet")

    rows = read_source(spark, str(tmp_path), BY_DAY, AS_OF)

    assert [row.id for row in rows.collect()] == ["in"]


def test_folders_may_be_named_by_local_days(spark: SparkSession, tmp_path: Path) -> None:
    write_days(spark, tmp_path, ("west", "2026-01-08 07:00:00", "2026-01-07"), ("east", "2026-01-10 05:00:00", "2026-01-11"))

    rows = read_source(spark, str(tmp_path), BY_DAY, AS_OF)

    assert sorted(row.id for row in rows.collect()) == ["east", "west"]


def test_a_source_without_window_has_all_rows_before_as_of(spark: SparkSession, tmp_path: Path) -> None:
    write_days(spark, tmp_path, ("old", "2019-01-01 00:00:00", "2019-01-01"), ("later", "2026-01-10 06:00:00", "2026-01-10"))

    rows = read_source(spark, str(tmp_path), BY_DAY.model_copy(update={"window": None}), AS_OF)

    assert [row.id for row in rows.collect()] == ["old"]


def test_a_parquet_time_without_zone_is_utc(spark: SparkSession, tmp_path: Path) -> None:
    times = spark.sql(
        "SELECT 'in' AS id, TIMESTAMP_NTZ '2026-01-10 05:59:00' AS at UNION ALL SELECT 'later', TIMESTAMP_NTZ '2026-01-10 06:00:00'"
    )
    times.write.parquet(str(tmp_path / "flights"))

    rows = read_source(spark, str(tmp_path), Source(format="parquet", path="flights", time_column="at"), AS_OF)

    assert [(row.id, row.at) for row in rows.collect()] == [("in", datetime(2026, 1, 10, 5, 59))]


def test_csv_columns_go_by_name_whatever_their_order(spark: SparkSession, tmp_path: Path) -> None:
    root = write_text(tmp_path, "planes.csv", "built,remark,seats,tail", "2001-05-01,nice,150,N1", "NA,,NA,N2")

    rows = read_source(spark, root, PLANES, AS_OF)

    assert rows.select("tail", "seats").collect() == [("N1", 150), ("N2", None)]
    assert dict(rows.dtypes) == {"tail": "string", "seats": "int", "built": "date", "remark": "string"}


def test_a_renamed_csv_column_is_named(spark: SparkSession, tmp_path: Path) -> None:
    root = write_text(tmp_path, "planes.csv", "tail,seat_count,built", "N1,150,2001-05-01")

    with pytest.raises(BadData, match=r"planes.csv: columns seats missing \(there are: tail, seat_count, built\)"):
        read_source(spark, root, PLANES, AS_OF)


def test_texts_that_do_not_fit_are_counted_for_every_column(spark: SparkSession, tmp_path: Path) -> None:
    root = write_text(tmp_path, "planes.csv", "tail,seats,built", "N1,many,2001-05-01", "N2,few,soon", "N3,150,NA")

    with pytest.raises(BadData) as raised:
        read_source(spark, root, PLANES, AS_OF)

    assert str(raised.value).endswith(
        "seats has 2 values that are not int, such as 'few'; built has 1 values that are not date, such as 'soon'"
    )


def test_json_lines_become_the_declared_types(spark: SparkSession, tmp_path: Path) -> None:
    lines = [
        json.dumps({"id": "a", "at": "2026-01-10T05:00:00Z", "x": 1.5}),
        json.dumps({"id": "b", "at": "2026-01-10T07:00:00+01:00", "x": 2}),
    ]
    source = Source(format="json", path="rows.json", columns={"id": "string", "at": "timestamp", "x": "double"}, time_column="at")

    rows = read_source(spark, write_text(tmp_path, "rows.json", *lines), source, AS_OF)

    assert [(row.id, row.at, row.x) for row in rows.collect()] == [("a", datetime(2026, 1, 10, 5), 1.5)]


def test_an_option_that_would_be_ignored_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    source = PLANES.model_copy(update={"options": {"dateFormat": "dd.MM.yyyy"}})

    with pytest.raises(BadData, match="options dateFormat have no effect"):
        read_source(spark, str(tmp_path), source, AS_OF)


def test_a_parquet_column_of_another_type_is_named(spark: SparkSession, tmp_path: Path) -> None:
    spark.createDataFrame([("a", "12")], "id string, seats string").write.parquet(str(tmp_path / "planes"))
    source = Source(format="parquet", path="planes", columns={"id": "string", "seats": "int", "built": "date"})

    with pytest.raises(BadData, match=r"columns built missing \(there are: id, seats\); seats is string, not int"):
        read_source(spark, str(tmp_path), source, AS_OF)


def test_a_time_column_that_is_text_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    spark.createDataFrame([("a", "yesterday")], "id string, at string").write.parquet(str(tmp_path / "flights"))

    with pytest.raises(BadData, match="at is string, not a timestamp or date"):
        read_source(spark, str(tmp_path), Source(format="parquet", path="flights", time_column="at"), AS_OF)


def test_a_partition_column_must_hold_days(spark: SparkSession, tmp_path: Path) -> None:
    write_days(spark, tmp_path, ("a", "2026-01-09 12:00:00", "20260109"))

    with pytest.raises(BadData, match="date is not partitioned by day, with folders such as date=2026-01-31"):
        read_source(spark, str(tmp_path), BY_DAY, AS_OF)


def test_what_is_wrong_in_all_sources_is_said_at_once(spark: SparkSession, tmp_path: Path) -> None:
    root = write_text(tmp_path, "planes.csv", "tail,built", "N1,2001-05-01")

    with pytest.raises(BadData) as raised:
        read_sources(spark, root, {"flights": BY_DAY, "planes": PLANES}, AS_OF)

    assert str(raised.value) == (
        f"source flights: {root}/flights does not exist; check the source's path and its last delivery; "
        f"source planes: {root}/planes.csv: columns seats missing (there are: tail, built)"
    )
