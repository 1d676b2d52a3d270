"""Spark's built-in formats, nested columns, and filters and columns pushed down to the files."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from contract.errors import BadData
from contract.source import Source
from spark_jobs.data.sources import read_source, read_sources

AS_OF = datetime(2026, 1, 10, 6, tzinfo=UTC)
USERS = "id bigint, user struct<name: string, address: struct<city: string, zip: string>>, at timestamp, tags array<string>"
SELECT = {"city": "user.address.city", "at": "at"}


def plan_of(rows: DataFrame) -> str:
    return rows._jdf.queryExecution().executedPlan().toString()


def write_users(spark: SparkSession, folder: Path, file_format: str = "parquet") -> str:
    users = [
        (1, ("Ann", ("Rome", "00100")), datetime(2026, 1, 9, 12), ["a"]),
        (2, ("Bob", ("Oslo", None)), datetime(2026, 1, 10, 12), []),
        (3, None, datetime(2026, 1, 9, 13), None),
    ]
    spark.createDataFrame(users, USERS).write.format(file_format).save(str(folder / "users"))
    return str(folder)


def test_a_table_of_orc_is_cut_to_the_window(spark: SparkSession, tmp_path: Path) -> None:
    root = write_users(spark, tmp_path, "orc")
    source = Source(format="orc", path="users", columns={"id": "bigint"}, time_column="at", window="2d")

    rows = read_source(spark, root, source, AS_OF)

    assert sorted(row.id for row in rows.collect()) == [1, 3]
    with pytest.raises(BadData, match="columns id is bigint, not string"):
        read_source(spark, root, source.model_copy(update={"columns": {"id": "string"}}), AS_OF)


@pytest.mark.parametrize("file_format", ["parquet", "orc"])
def test_of_nested_columns_only_the_named_leaves_are_read(spark: SparkSession, tmp_path: Path, file_format: str) -> None:
    root = write_users(spark, tmp_path, file_format)
    source = Source(format=file_format, path="users", select=SELECT, columns={"city": "string"}, time_column="at")

    rows = read_source(spark, root, source, AS_OF)

    assert set(rows.collect()) == {(None, datetime(2026, 1, 9, 13)), ("Rome", datetime(2026, 1, 9, 12))}
    assert rows.columns == ["city", "at"]
    assert "ReadSchema: struct<user:struct<address:struct<city:string>>,at:timestamp>" in plan_of(rows)


def test_nested_json_is_read_by_path_and_typed(spark: SparkSession, tmp_path: Path) -> None:
    lines = [
        {"user": {"address": {"city": "Rome"}, "age": 40}, "at": "2026-01-10T05:00:00Z"},
        {"user": {"address": None, "age": "41"}, "at": "2026-01-10T05:30:00Z"},
    ]
    (tmp_path / "users.json").write_text("\n".join(json.dumps(line) for line in lines))
    source = Source(
        format="json",
        path="users.json",
        select={**SELECT, "age": "user.age"},
        columns={"city": "string", "at": "timestamp", "age": "int"},
        time_column="at",
    )

    rows = read_source(spark, str(tmp_path), source, AS_OF)

    assert set(rows.select("city", "age").collect()) == {(None, 41), ("Rome", 40)}


def test_a_csv_column_may_get_another_name(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "planes.csv").write_text("Tail No.,seats,remark\nN1,150,nice\n")
    source = Source(
        format="csv", path="planes.csv", select={"tail": "`Tail No.`", "seats": "seats"}, columns={"tail": "string", "seats": "int"}
    )

    assert read_source(spark, str(tmp_path), source, AS_OF).collect() == [("N1", 150)]


def test_paths_that_lead_to_no_single_value_are_told_at_once(spark: SparkSession, tmp_path: Path) -> None:
    root = write_users(spark, tmp_path)
    select = {"a": "user.adress.city", "b": "tags.first", "c": "tags", "d": "user.address"}

    with pytest.raises(BadData) as raised:
        read_source(spark, root, Source(format="parquet", path="users", select=select), AS_OF)

    assert str(raised.value) == (
        f"{root}/users: select a: user.adress is missing (there are: name, address); "
        "b: tags is an array, which has no columns of its own; c: tags is an array and not a single value; "
        "d: user.address is a struct and not a single value; name one of its columns (city, zip)"
    )


def test_a_column_of_maps_is_refused_unless_others_are_named(spark: SparkSession, tmp_path: Path) -> None:
    spark.sql("SELECT 1 AS id, map('a', 1) AS counts").write.parquet(str(tmp_path / "maps"))

    with pytest.raises(
        BadData, match="columns counts hold maps, which no snapshot can fingerprint: name their values under select"
    ):
        read_source(spark, str(tmp_path), Source(format="parquet", path="maps"), AS_OF)
    assert read_source(spark, str(tmp_path), Source(format="parquet", path="maps", select={"id": "id"}), AS_OF).collect() == [(1,)]


@pytest.mark.parametrize(
    ("kind", "pushed"),
    [
        ("timestamp", "LessThan(at,2026-01-10"),
        ("timestamp_ntz", "LessThan(at,2026-01-10T06:00)"),
        ("date", "LessThan(at,2026-01-11)"),
    ],
)
def test_the_window_reaches_the_files_in_the_type_of_its_column(
    spark: SparkSession, tmp_path: Path, kind: str, pushed: str
) -> None:
    days = "SELECT explode(sequence(TIMESTAMP '2026-01-07 00:00:00', TIMESTAMP '2026-01-12 00:00:00', INTERVAL 1 DAY)) AS at"
    spark.sql(f"SELECT CAST(at AS {kind}) AS at FROM ({days})").write.parquet(str(tmp_path / "days"))

    rows = read_source(spark, str(tmp_path), Source(format="parquet", path="days", time_column="at", window="2d"), AS_OF)

    assert pushed in plan_of(rows)
    assert sorted(row[0] for row in rows.selectExpr("CAST(at AS date)").collect()) == [date(2026, 1, 9), date(2026, 1, 10)]


def test_libsvm_gives_a_column_for_each_feature(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "digits.txt").write_text("1 1:0.5 3:2\n0 2:7\n")
    source = Source(format="libsvm", path="digits.txt", options={"numFeatures": "3"}, columns={"label": "double", "f3": "double"})

    rows = read_source(spark, str(tmp_path), source, AS_OF)

    assert rows.columns == ["label", "f1", "f2", "f3"]
    assert sorted(rows.collect()) == [(0.0, 0.0, 7.0, 0.0), (1.0, 0.5, 0.0, 2.0)]


def test_a_table_of_the_catalogue_is_read_by_its_name(spark: SparkSession, tmp_path: Path) -> None:
    spark.sql("CREATE DATABASE lake")
    try:
        spark.createDataFrame([(1, "a")], "id int, name string").write.saveAsTable("lake.parcels")
        source = Source(format="table", table="lake.parcels", columns={"id": "int"})

        assert read_source(spark, str(tmp_path), source, AS_OF).collect() == [(1, "a")]
        with pytest.raises(BadData, match=r"lake\.planes is not in the catalogue; check its name"):
            read_source(spark, str(tmp_path), Source(format="table", table="lake.planes"), AS_OF)
    finally:
        spark.sql("DROP DATABASE lake CASCADE")


def test_any_connector_is_read_by_its_name_or_class(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("one\n\ntwo")
    by_class = "org.apache.spark.sql.execution.datasources.v2.text.TextDataSourceV2"
    sources = {
        "whole": Source(format="text", path="notes.txt", options={"wholetext": "true"}),
        "lines": Source(format=by_class, path="notes.txt"),
    }

    read = read_sources(spark, str(tmp_path), sources, AS_OF)

    assert [row.value for row in read["whole"].frame.collect()] == ["one\n\ntwo"]
    assert [row.value for row in read["lines"].frame.collect()] == ["one", "", "two"]


def test_a_connector_that_is_not_there_is_told_with_what_to_add(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(BadData) as raised:
        read_sources(spark, str(tmp_path), {"parcels": Source(format="com.example.Parcels")}, AS_OF)

    assert str(raised.value).startswith(
        "source parcels: format com.example.Parcels is not known to this Spark: add its package, made for"
    )
    assert str(raised.value).endswith("to spark.jars.packages in the platform's spark.conf")


def test_a_file_system_that_spark_does_not_know_is_told(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="bucket://lake/parcels is on a file system that this Spark does not know"):
        read_source(spark, "bucket://lake", Source(format="parquet", path="parcels"), AS_OF)


@pytest.mark.parametrize(
    ("provider", "sentence"), [(None, "has no credential provider: set"), ("user:///", "is not in user:///: add it by")]
)
def test_a_secret_that_is_not_kept_is_told(spark: SparkSession, tmp_path: Path, provider: str | None, sentence: str) -> None:
    conf = spark.sparkContext._jsc.hadoopConfiguration()
    if provider:
        conf.set("hadoop.security.credential.provider.path", provider)
    try:
        with pytest.raises(BadData, match=f"secret shop.password {sentence}"):
            read_source(spark, str(tmp_path), Source(format="com.example.Shop", secrets={"password": "shop.password"}), AS_OF)
    finally:
        conf.unset("hadoop.security.credential.provider.path")
