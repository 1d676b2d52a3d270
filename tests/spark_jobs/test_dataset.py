from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import SparkSession

from contract.errors import BadData
from contract.spec import ModelSpec
from spark_jobs.data.dataset import build_examples, split, split_by_hash, split_by_time

SPEC = {
    "name": "late",
    "description": "late?",
    "owner": "ops",
    "sources": {"flights": {"format": "parquet", "path": "flights"}},
    "examples": {"id": "id", "time": "at", "label": "late", "numeric": ["delay"], "categorical": ["gate"]},
    "task": "binary",
    "split": {"holdout": "1d"},
    "algorithm": {"name": "logistic_regression"},
    "gate": {"metric": "log_loss"},
}


def spec_with(**changes: object) -> ModelSpec:
    return ModelSpec.model_validate({**SPEC, **changes})


def day(number: int, hour: int = 0) -> datetime:
    return datetime(2026, 1, number, hour, tzinfo=UTC)


def test_columns_come_in_the_spec_order_with_its_types(spark: SparkSession, snapshot_of: Callable) -> None:
    flights = spark.createDataFrame(
        [(7, day(1), True, 3, 12), (8, day(2), False, None, None)], "id long, at timestamp, late boolean, delay int, gate int"
    )

    examples = build_examples(spark, snapshot_of(flights=flights), spec_with(), sql=None)

    assert examples.dtypes == [("id", "string"), ("at", "timestamp"), ("late", "double"), ("delay", "double"), ("gate", "string")]
    assert [tuple(row) for row in examples.orderBy("id").collect()] == [
        ("7", datetime(2026, 1, 1), 1.0, 3.0, "12"),
        ("8", datetime(2026, 1, 2), 0.0, None, None),
    ]


def test_a_row_without_label_is_dropped_and_a_number_that_is_none_is_null(spark: SparkSession, snapshot_of: Callable) -> None:
    flights = spark.createDataFrame(
        [("a", day(1), 1, float("nan"), "x"), ("b", day(1), None, 2.0, "y")],
        "id string, at timestamp, late int, delay double, gate string",
    )

    examples = build_examples(spark, snapshot_of(flights=flights), spec_with(), sql=None)

    assert [(row.id, row.delay) for row in examples.collect()] == [("a", None)]


def test_the_sql_joins_sources_under_their_names_and_leaves_no_view_behind(spark: SparkSession, snapshot_of: Callable) -> None:
    flights = spark.createDataFrame([("a", day(1, 23), 1, "x")], "id string, at timestamp, late int, gate string")
    gates = spark.createDataFrame([("x", 4.5)], "gate string, delay_h double")
    sources = {name: {"format": "parquet", "path": name} for name in ("flights", "gates")}
    spec = spec_with(sources=sources, examples={**SPEC["examples"], "sql": "late.sql"})

    sql = "SELECT *, hour(at) + delay_h AS delay FROM flights LEFT JOIN gates USING (gate)"

    examples = build_examples(spark, snapshot_of(flights=flights, gates=gates), spec, sql)

    assert [(row.id, row.delay) for row in examples.collect()] == [("a", 27.5)]
    assert spark.catalog.listTables() == []


def test_all_missing_and_wrong_columns_are_named_at_once(spark: SparkSession, snapshot_of: Callable) -> None:
    flights = spark.createDataFrame([("a", "soon", "1.5", 0.5)], "id string, at string, delay string, gate double")

    with pytest.raises(BadData) as raised:
        build_examples(spark, snapshot_of(flights=flights), spec_with(), sql=None)

    assert str(raised.value) == (
        "the examples of late do not fit its spec: at is string, not a timestamp; "
        "late is missing (there are: at, delay, gate, id); delay is string, not a number or boolean; "
        "gate is double, not a string, whole number or boolean; fix the source or the spec"
    )


def test_a_label_of_many_classes_is_text(spark: SparkSession, snapshot_of: Callable) -> None:
    flights = spark.createDataFrame([("a", day(1), 2, 1.0, "x")], "id string, at timestamp, late int, delay double, gate string")

    examples = build_examples(spark, snapshot_of(flights=flights), spec_with(task="multiclass"), sql=None)

    assert [row.late for row in examples.collect()] == ["2"]


def test_a_snapshot_without_a_source_of_the_spec_is_refused(spark: SparkSession, snapshot_of: Callable) -> None:
    others = spark.createDataFrame([("a",)], "id string")

    with pytest.raises(BadData, match=r"has no source flights \(it has: others\)"):
        build_examples(spark, snapshot_of(others=others), spec_with(), sql=None)


def test_the_holdout_begins_exactly_its_length_before_as_of(spark: SparkSession) -> None:
    rows = spark.createDataFrame(
        [("early", day(8, 23)), ("first", day(9)), ("last", day(9, 23)), ("later", day(10))], "id string, at timestamp"
    )

    train, holdout = split(rows, spec_with(), as_of=day(10))

    assert [row.id for row in train.collect()] == ["early"]
    assert [row.id for row in holdout.collect()] == ["first", "last"]


def test_rows_whose_label_may_not_be_there_yet_are_in_neither_part(spark: SparkSession) -> None:
    rows = spark.createDataFrame([(day(number),) for number in range(1, 11)], "at timestamp")
    spec = spec_with(split={"holdout": "3d", "label_delay": "2d"})

    train, holdout = split(rows, spec, day(11))

    assert [row.at.day for row in holdout.orderBy("at").collect()] == [6, 7, 8]
    assert [row.at.day for row in train.orderBy("at").collect()] == [1, 2, 3, 4, 5]


def test_rows_within_the_gap_are_in_neither_part(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("train", day(8, 17)), ("gap", day(8, 18)), ("holdout", day(9))], "id string, at timestamp")

    train, holdout = split_by_time(rows, "at", until=day(10), holdout=timedelta(days=1), gap=timedelta(hours=6))

    assert [row.id for row in train.collect()] == ["train"]
    assert [row.id for row in holdout.collect()] == ["holdout"]


def test_an_id_stays_on_its_side_whatever_the_date_and_the_other_rows(spark: SparkSession) -> None:
    spec = spec_with(examples={**SPEC["examples"], "time": None}, split={"holdout": 0.2})
    many = spark.range(2000).selectExpr("cast(id AS string) AS id")
    fewer = many.where("cast(id AS int) % 3 = 0")

    train, holdout = split(many, spec, as_of=day(10))
    again = split(fewer, spec, as_of=day(20)).holdout

    kept_back = {row.id for row in holdout.collect()}
    assert 330 <= len(kept_back) <= 470  # 20 % of 2,000 within four standard deviations
    assert len(kept_back) + train.count() == 2000
    assert {row.id for row in again.collect()} == {id for id in kept_back if int(id) % 3 == 0}


def test_another_salt_keeps_back_other_ids(spark: SparkSession) -> None:
    rows = spark.range(200).selectExpr("cast(id AS string) AS id")

    ours = {row.id for row in split_by_hash(rows, "id", "ours", 0.5).validation.collect()}
    theirs = {row.id for row in split_by_hash(rows, "id", "theirs", 0.5).validation.collect()}

    assert ours - theirs
    assert theirs - ours
