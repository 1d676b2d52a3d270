import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from contract.errors import StoreError
from contract.source import Source
from spark_jobs.data.snapshot import content_of, fingerprint_of, freeze, source_hash
from spark_jobs.data.sources import Rows
from spark_jobs.runtime.error_translation import explain

AS_OF = datetime(2026, 1, 10, tzinfo=UTC)
SOURCE = Source(format="parquet", path="flights")


def fingerprint(frame: DataFrame) -> str:
    return fingerprint_of({"flights": content_of(frame)}, {})


def rows(spark: SparkSession, *values: tuple[str | None, int | None], schema: str = "id string, x int") -> DataFrame:
    return spark.createDataFrame(values, schema)


def test_equal_rows_in_another_order_have_the_same_fingerprint(spark: SparkSession) -> None:
    one = rows(spark, ("a", 1), ("b", None), ("c", 3))
    other = rows(spark, ("c", 3), ("a", 1), ("b", None)).repartition(3).select("x", "id")

    assert fingerprint(one) == fingerprint(other)


def test_any_other_row_gives_another_fingerprint(spark: SparkSession) -> None:
    different = [
        rows(spark, ("a", 1), ("b", 2)),
        rows(spark, ("a", 1), ("b", 3)),
        rows(spark, ("a", 2), ("b", 1)),
        rows(spark, ("a", 1), ("b", 2), ("b", 2)),
        rows(spark, ("a", 1)),
        rows(spark, ("a", 1), ("b", None)),
        rows(spark, ("a", 1), ("b", 2), schema="id string, x long"),
        rows(spark, ("a", 1), ("b", 2), schema="id string, y int"),
    ]

    assert len({fingerprint(frame) for frame in different}) == len(different)


def test_a_null_in_another_column_is_another_row(spark: SparkSession) -> None:
    schema = "id string, other string"

    assert fingerprint(rows(spark, ("a", None), schema=schema)) != fingerprint(rows(spark, (None, "a"), schema=schema))


def test_the_source_may_change_after_it_was_frozen(spark: SparkSession, tmp_path: Path) -> None:
    source = str(tmp_path / "source")
    rows(spark, ("a", 1), ("b", 2)).write.parquet(source)

    read = {"flights": Rows(spark.read.parquet(source))}
    frozen = freeze(spark, read, {"flights": SOURCE}, str(tmp_path / "snapshot"), AS_OF, cached={"flights"})
    rows(spark, ("z", 9)).write.mode("overwrite").parquet(source)
    frozen.frames["flights"].unpersist(blocking=True)  # as if the cached blocks were lost

    assert sorted(frozen.frames["flights"].collect()) == [("a", 1), ("b", 2)]
    assert frozen.snapshot.rows == {"flights": 2}
    assert frozen.snapshot.fingerprint == fingerprint(frozen.frames["flights"])


def test_a_half_written_folder_of_the_same_key_is_replaced(spark: SparkSession, tmp_path: Path) -> None:
    uri = str(tmp_path / "snapshot")
    rows(spark, ("left", 0), ("over", 0)).write.parquet(f"{uri}/flights")

    frozen = freeze(spark, {"flights": Rows(rows(spark, ("a", 1)))}, {"flights": SOURCE}, uri, AS_OF)

    assert frozen.frames["flights"].collect() == [("a", 1)]
    assert frozen.snapshot.uri == uri


def test_equal_rows_of_another_version_are_another_snapshot(spark: SparkSession, tmp_path: Path) -> None:
    same = rows(spark, ("a", 1))
    snapshots = [
        freeze(spark, {"flights": Rows(same, version)}, {"flights": SOURCE}, f"{tmp_path}/{version}", AS_OF).snapshot
        for version in (None, 12, 13)
    ]

    assert len({snapshot.fingerprint for snapshot in snapshots}) == 3
    assert [snapshot.versions for snapshot in snapshots] == [{}, {"flights": 12}, {"flights": 13}]


def test_a_source_defined_otherwise_has_another_hash() -> None:
    longer = Source(format="parquet", path="flights", time_column="at", window="60d")

    assert source_hash(SOURCE) == source_hash(Source(format="parquet", path="flights"))
    assert source_hash(longer) != source_hash(longer.model_copy(update={"max_age": longer.window}))
    assert source_hash(Source(format="delta", path="flights")) != source_hash(Source(format="delta", path="flights", version=12))


def test_a_full_disk_is_told_as_one_and_the_same_snapshot_is_written_once_there_is_room(
    spark: SparkSession, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    read = {"flights": Rows(spark.range(100_000).selectExpr("rand(1) AS x"))}
    try:
        with pytest.raises(Exception, match="x") as raised:
            freeze(spark, read, {"flights": SOURCE}, f"{disk}/snapshot", AS_OF)
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        snapshot = freeze(spark, read, {"flights": SOURCE}, f"{disk}/snapshot", AS_OF).snapshot
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)  # Spark may still hold a file open

    error = explain(raised.value)
    assert type(error) is StoreError
    assert str(error) == "the disk of the store or of Spark's scratch folder is full: free space, then clear this task"
    assert snapshot.rows == {"flights": 100_000}
