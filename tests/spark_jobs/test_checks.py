from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.errors import ArithmeticException
from pyspark.sql import DataFrame, SparkSession

from contract.documents import DataCheck, Snapshot, ValidationReport, write
from contract.spec import ModelSpec, Source
from contract.store.local import LocalStore
from spark_jobs.data.checks import check_examples, check_source, check_volumes, earlier_snapshots
from spark_jobs.data.snapshot import content_of

AS_OF = datetime(2026, 1, 10, tzinfo=UTC)
SPEC: dict[str, Any] = {
    "name": "late",
    "description": "late?",
    "owner": "ops",
    "sources": {"flights": {"format": "parquet", "path": "flights"}},
    "examples": {"id": "id", "time": "at", "label": "late", "numeric": ["delay"], "categorical": ["gate"]},
    "features": {"max_categories": 3},
    "task": "binary",
    "split": {"holdout": "1d"},
    "algorithm": {"name": "logistic_regression"},
    "gate": {"metric": "log_loss"},
}
GOOD = [
    ("a", "2026-01-08", 0.0, 1.0, "x"),
    ("b", "2026-01-08", 1.0, None, "y"),
    ("c", "2026-01-09", 0.0, 3.0, "x"),
    ("d", "2026-01-09", 1.0, 4.0, None),
]


def failed(spark: SparkSession, rows: list[tuple], **changes: Any) -> list[str]:
    texts = spark.createDataFrame(rows, "id string, at string, late double, delay double, gate string")
    examples = texts.selectExpr("id", "cast(at AS timestamp) AS at", "late", "delay", "gate")
    checks = check_examples(examples, ModelSpec.model_validate({**SPEC, **changes}), AS_OF).checks
    return [f"{check.name}: {check.detail}" for check in checks if not check.passed]


def with_column(index: int, *values: Any) -> list[tuple]:
    return [(*row[:index], value, *row[index + 1 :]) for row, value in zip(GOOD, values, strict=True)]


def test_good_examples_pass_every_check(spark: SparkSession) -> None:
    assert failed(spark, GOOD) == []


def test_no_labelled_row_fails_what_needs_rows(spark: SparkSession) -> None:
    assert failed(spark, []) == [
        "label present: 0 of 0 rows have late",
        "training rows: label varies: 0 rows",
        "holdout: label varies: 0 rows",
        "features have values: delay is null in all rows; gate is null in all rows",
    ]


def test_a_number_that_the_sample_shows_no_value_of_is_counted(spark: SparkSession) -> None:
    of_the_training_rows = with_column(3, None, None, 3.0, None)

    assert failed(spark, of_the_training_rows) == []
    assert failed(spark, with_column(3, None, None, None, None)) == ["features have values: delay is null in all rows"]


def test_a_number_that_cannot_be_computed_for_a_holdout_row_is_an_error(spark: SparkSession) -> None:
    texts = spark.createDataFrame(GOOD, "id string, at string, late double, delay double, gate string")
    examples = texts.selectExpr("id", "cast(at AS timestamp) AS at", "late", "1 / double(id != 'd') AS delay", "gate")

    with pytest.raises(ArithmeticException, match="DIVIDE_BY_ZERO"):
        check_examples(examples, ModelSpec.model_validate(SPEC), AS_OF)


def test_a_holdout_of_one_class_fails(spark: SparkSession) -> None:
    assert failed(spark, with_column(2, 0.0, 1.0, 1.0, 1.0)) == ["holdout: label varies: 2 rows, late is 1.0 in all"]


def test_training_rows_of_one_class_fail(spark: SparkSession) -> None:
    assert failed(spark, with_column(2, 0.0, 0.0, 0.0, 1.0)) == ["training rows: label varies: 2 rows, late is 0.0 in all"]


def test_a_binary_label_of_another_value_fails(spark: SparkSession) -> None:
    assert failed(spark, with_column(2, 0.0, 1.0, 0.0, 2.0)) == ["label is 0 or 1: 1 rows with another late"]


def test_a_feature_that_is_null_in_all_rows_fails(spark: SparkSession) -> None:
    assert failed(spark, with_column(3, None, None, None, None)) == ["features have values: delay is null in all rows"]


def test_a_category_with_too_many_levels_fails(spark: SparkSession) -> None:
    assert failed(spark, with_column(4, "w", "x", "y", "z")) == ["categories have few levels: gate has 4 levels, 3 are allowed"]
    assert failed(spark, with_column(4, "w", "x", "y", "y")) == []


def test_ids_that_repeat_and_rows_without_id_or_time_fail(spark: SparkSession) -> None:
    assert failed(spark, [*GOOD, ("a", "2026-01-08", 1.0, 1.0, "x"), (None, None, 1.0, 1.0, "x")]) == [
        "every row has an id of its own and a time: 1 rows without id; "
        "1 rows repeat another's id (does a join multiply rows?); 1 rows without at"
    ]


def source_checks(frame: DataFrame) -> dict[str, tuple[bool, str]]:
    source = Source(format="parquet", path="flights", time_column="at", max_age="36h", window="9d")
    return {check.name: (check.passed, check.detail) for check in check_source(content_of(frame), "flights", source, AS_OF)}


@pytest.mark.parametrize(("newest", "passed"), [("2026-01-08 12:00:00", True), ("2026-01-08 11:59:59", False)])
def test_rows_are_fresh_if_the_newest_is_no_older_than_max_age(spark: SparkSession, newest: str, passed: bool) -> None:
    frame = spark.sql(f"SELECT TIMESTAMP '2026-01-01 00:00:00' AS at UNION ALL SELECT TIMESTAMP '{newest}'")

    assert source_checks(frame)["fresh"] == (
        passed,
        f"the newest row is of {newest[:16]} UTC, it must be of 2026-01-08 12:00 UTC or later (max_age 36h)",
    )


def test_times_after_as_of_are_refused_but_where_the_spec_allows_them(spark: SparkSession) -> None:
    frame = spark.sql(
        "SELECT TIMESTAMP '2026-01-09 00:00:00' AS at, TIMESTAMP '2026-01-10 00:00:01' AS landed, DATE '2026-01-10' AS day"
    )

    assert source_checks(frame)["no times after as_of"] == (
        False,
        "landed has times until 2026-01-10 00:00 UTC; if that is known in advance, name it in allow_future",
    )
    allowed = Source(format="parquet", path="flights", time_column="at", allow_future=("landed",))
    assert all(check.passed for check in check_source(content_of(frame), "flights", allowed, AS_OF))


def test_the_share_of_holdout_rows_without_a_label_is_told(spark: SparkSession) -> None:
    texts = spark.createDataFrame(
        with_column(2, None, 1.0, None, 0.0), "id string, at string, late double, delay double, gate string"
    )
    examples = texts.selectExpr("id", "cast(at AS timestamp) AS at", "late", "delay", "gate")

    assert check_examples(examples, ModelSpec.model_validate(SPEC), AS_OF).unlabelled == 0.5  # of the two of the 9th


def test_an_empty_window_fails_and_is_not_fresh(spark: SparkSession) -> None:
    checks = source_checks(spark.createDataFrame([], "at timestamp"))

    assert checks["window has rows"] == (False, "0 rows from 2026-01-01 00:00 UTC until 2026-01-10 00:00 UTC")
    assert checks["fresh"][0] is False


def snapshot(rows: int, day: int = 10, source: str = "as today") -> Snapshot:
    as_of = datetime(2026, 1, day, tzinfo=UTC)
    return Snapshot(uri="/snapshot", fingerprint="any", rows={"flights": rows}, as_of=as_of, sources={"flights": source})


@pytest.mark.parametrize(("rows", "passed"), [(49, False), (50, True), (200, True), (201, False)])
def test_the_volume_is_between_half_and_twice_the_usual(rows: int, passed: bool) -> None:
    (check,) = check_volumes(snapshot(rows), [snapshot(90), snapshot(100), snapshot(5000)])

    assert check == DataCheck(
        source="flights", name="volume", passed=passed, detail=f"{rows} rows where 100 are usual; 0.5 to 2.0 times as many pass"
    )


def test_the_volume_is_not_judged_before_there_are_three_snapshots_of_an_equal_source() -> None:
    earlier = [snapshot(100), snapshot(100), snapshot(100, source="with another window")]

    (check,) = check_volumes(snapshot(1), earlier)

    assert (check.passed, check.detail) == (True, "skipped: 2 earlier snapshots of this source, 3 are needed")


def test_only_the_last_ten_snapshots_are_usual() -> None:
    (check,) = check_volumes(snapshot(1000), [*[snapshot(100)] * 20, *[snapshot(1000)] * 10])

    assert check.passed


def test_earlier_snapshots_are_those_that_passed_before_as_of(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    for day in (7, 8, 9, 10, 11):
        report = ValidationReport(snapshot=snapshot(day, day), checks=(), seconds=1)
        write(store, f"runs/late/scheduled__2026-01-{day:02}-abc/validate-k{day}.json", report)
    write(store, "runs/late/scheduled__2026-01-09-abc/validate-bad.report.json", report)
    write(store, "runs/late/scheduled__2026-01-09-abc/validate-bad.error.json", report)
    write(store, "runs/other/scheduled__2026-01-01-abc/validate-k.json", report)

    earlier = earlier_snapshots(store, "runs/late/scheduled__2026-01-10-abc", AS_OF)

    assert [earlier_snapshot.rows["flights"] for earlier_snapshot in earlier] == [7, 8, 9]


def test_earlier_snapshots_are_in_the_order_of_their_data_whenever_their_runs_were_triggered(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    triggered = {"manual__2026-03-01-abc": 5, "manual__2026-01-02-abc": 7, "by-hand": 6, "scheduled__2026-01-04-abc": 4}
    for run, day in triggered.items():
        write(store, f"runs/late/{run}/validate-k.json", ValidationReport(snapshot=snapshot(day, day), checks=(), seconds=1))
    for day in range(10, 22):
        report = ValidationReport(snapshot=snapshot(3, 3), checks=(), seconds=1)
        write(store, f"runs/late/manual__2026-03-{day}-abc/validate-k.json", report)

    earlier = earlier_snapshots(store, "runs/late/scheduled__2026-01-10-abc", AS_OF)

    assert [earlier_snapshot.rows["flights"] for earlier_snapshot in earlier] == [3, 4, 5, 6, 7]
