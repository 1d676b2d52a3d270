"""Delta and Avro, whose jars are not part of pyspark."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from contract.errors import BadData
from contract.source import Source
from spark_jobs.data.snapshot import freeze
from spark_jobs.data.sources import Rows, read_sources
from spark_jobs.runtime.error_translation import explain

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("jars")]

AS_OF = datetime(2026, 1, 10, 6, tzinfo=UTC)
NEWEST = Source(format="delta", path="parcels")
SCHEMA = "id string, user struct<city: string, zip: string>, at timestamp"


def append(spark: SparkSession, folder: Path, id: str, file_format: str = "delta") -> datetime:
    """A time after this version and before the next."""
    rows = spark.createDataFrame([(id, ("Rome", "00100"), datetime(2026, 1, 9))], SCHEMA)
    rows.repartition(1).write.format(file_format).mode("append").save(str(folder / "parcels"))
    time.sleep(0.1)
    return datetime.now(UTC)


def read(spark: SparkSession, folder: Path, source: Source) -> Rows:
    return read_sources(spark, str(folder), {"parcels": source}, AS_OF)["parcels"]


def ids(rows: Rows) -> list[str]:
    return sorted(row.id for row in rows.frame.collect())


def test_the_newest_version_is_read_and_stays_the_one(spark: SparkSession, tmp_path: Path) -> None:
    append(spark, tmp_path, "a")
    append(spark, tmp_path, "b")

    rows = read(spark, tmp_path, NEWEST)
    append(spark, tmp_path, "c")
    snapshot = freeze(spark, {"parcels": rows}, {"parcels": NEWEST}, str(tmp_path / "snapshot"), AS_OF).snapshot

    assert ids(rows) == ["a", "b"]
    assert snapshot.versions == {"parcels": 1}
    assert snapshot.rows == {"parcels": 2}


def test_a_version_is_named_by_its_number_or_by_a_time(spark: SparkSession, tmp_path: Path) -> None:
    append(spark, tmp_path, "a")
    after_b = append(spark, tmp_path, "b")
    append(spark, tmp_path, "c")

    by_number = read(spark, tmp_path, Source(format="delta", path="parcels", version=0))
    by_time = read(spark, tmp_path, Source(format="delta", path="parcels", timestamp=after_b))

    assert (ids(by_number), by_number.version) == (["a"], 0)
    assert (ids(by_time), by_time.version) == (["a", "b"], 1)


def test_a_delta_table_may_be_one_of_the_catalogue(spark: SparkSession, tmp_path: Path) -> None:
    append(spark, tmp_path, "a")
    append(spark, tmp_path, "b")
    spark.sql(f"CREATE TABLE parcels_of_delta USING delta LOCATION '{tmp_path}/parcels'")
    try:
        rows = read(spark, tmp_path, Source(format="delta", table="default.parcels_of_delta"))
    finally:
        spark.sql("DROP TABLE parcels_of_delta")

    assert (ids(rows), rows.version) == (["a", "b"], 1)


def test_of_nested_columns_of_delta_only_the_named_leaves_are_read(spark: SparkSession, tmp_path: Path) -> None:
    append(spark, tmp_path, "a")
    source = Source(format="delta", path="parcels", select={"city": "user.city", "at": "at"}, time_column="at", window="2d")

    rows = read(spark, tmp_path, source).frame
    plan = rows._jdf.queryExecution().executedPlan().toString()

    assert rows.collect() == [("Rome", datetime(2026, 1, 9))]
    assert "ReadSchema: struct<user:struct<city:string>,at:timestamp>" in plan
    assert "GreaterThanOrEqual(at,2026-01-08" in plan


def test_what_is_not_there_is_told(spark: SparkSession, tmp_path: Path) -> None:
    append(spark, tmp_path, "a")
    (tmp_path / "empty").mkdir()
    missing_sources = {
        "later": Source(format="delta", path="parcels", version=9),
        "older": Source(format="delta", path="parcels", timestamp="2019-01-31"),
        "none": Source(format="delta", path="empty"),
        "nowhere": Source(format="delta", table="lake.nowhere"),
    }

    with pytest.raises(BadData) as raised:
        read_sources(spark, str(tmp_path), missing_sources, AS_OF)

    sentence = str(raised.value)
    assert (
        f"source later: {tmp_path}/parcels cannot be read (Cannot time travel Delta table to version 9. Available versions: [0, 0]"
        in sentence
    )
    assert "source older: " in sentence
    assert "has no version as old as timestamp 2019-01-31 00:00:00 UTC, or it was vacuumed; name a later one" in sentence
    assert f"source none: {tmp_path}/empty is no Delta table; check the source's path" in sentence
    assert "source nowhere: lake.nowhere is " in sentence


def test_a_version_whose_files_were_vacuumed_is_told(spark: SparkSession, tmp_path: Path) -> None:
    append(spark, tmp_path, "a")
    rows = read(spark, tmp_path, NEWEST)
    for file in (tmp_path / "parcels").glob("*.parquet"):
        file.unlink()

    with pytest.raises(Exception, match="parcels") as raised:
        freeze(spark, {"parcels": rows}, {"parcels": NEWEST}, str(tmp_path / "snapshot"), AS_OF)

    assert "is gone: it was replaced or vacuumed after the job had listed it" in str(explain(raised.value))


def test_avro_has_types_of_its_own(spark: SparkSession, tmp_path: Path) -> None:
    append(spark, tmp_path, "a", "avro")
    source = Source(format="avro", path="parcels", select={"city": "user.city", "at": "at"}, time_column="at", window="2d")

    assert read(spark, tmp_path, source).frame.collect() == [("Rome", datetime(2026, 1, 9))]
    with pytest.raises(BadData, match="columns city is string, not int"):
        read(spark, tmp_path, source.model_copy(update={"columns": {"city": "int"}}))
