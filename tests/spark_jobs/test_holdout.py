"""The holdout's own conditions, its blocks, and the golden rows chosen from it."""

from datetime import UTC, datetime, timedelta
from math import inf

import pytest
from pyspark.ml import PipelineModel
from pyspark.ml.feature import SQLTransformer, StringIndexerModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from contract.documents import GoldenRows
from contract.errors import BadData
from contract.spec import ModelSpec
from spark_jobs.comparison.golden_rows import choose_golden_rows
from spark_jobs.comparison.holdout import hash_sample, holdout_facts
from spark_jobs.export.parity import collect_answers
from spark_jobs.statistics.blocks import BY_BOTH, BY_CLUSTER, BY_ROW, BY_TIME, groupings_of

SPEC = {
    "name": "late",
    "description": "late?",
    "owner": "ops",
    "sources": {"flights": {"format": "parquet", "path": "flights"}},
    "examples": {"id": "id", "time": "at", "label": "late", "numeric": ["delay"], "categorical": ["gate"]},
    "task": "regression",
    "split": {"holdout": "14d"},
    "algorithm": {"name": "linear_regression"},
    "gate": {"metric": "rmse"},
}
BINARY = {"task": "binary", "algorithm": {"name": "gbt_classifier"}, "gate": {"metric": "auc"}}


def spec_with(**changes: object) -> ModelSpec:
    return ModelSpec.model_validate({**SPEC, **changes})


def labelled(spark: SparkSession, *rows: tuple[str, float]) -> DataFrame:
    return spark.createDataFrame(list(rows), "id string, late double")


def test_a_holdout_of_one_class_is_bad_data_and_the_class_is_named(spark: SparkSession) -> None:
    with pytest.raises(BadData, match=r"all 2 holdout rows of late have the class 1.0 in late: widen split.holdout"):
        holdout_facts(labelled(spark, ("a", 1.0), ("b", 1.0)), spec_with(**BINARY))


def test_an_empty_holdout_is_bad_data(spark: SparkSession) -> None:
    with pytest.raises(BadData, match="the holdout of late has no rows"):
        holdout_facts(spark.createDataFrame([], "id string, late double"), spec_with())


def test_a_fit_holdout_is_counted_and_its_labels_centred(spark: SparkSession) -> None:
    rows = labelled(spark, ("a", 1.0), ("b", 0.0), ("c", 2.0))

    assert holdout_facts(rows, spec_with()) == (3, 1.0, ())
    assert holdout_facts(rows, spec_with(**BINARY)) == (3, 0.0, ())


def test_of_many_rows_those_of_the_lowest_hashes_are_few(spark: SparkSession) -> None:
    rows = spark.range(1000).selectExpr("cast(id AS string) AS id").withColumn("hash", F.xxhash64("id"))

    sample = hash_sample(rows, "id", 1000, enough=100)

    assert 70 < sample.count() < 130
    assert sample.agg(F.max("hash")).first()[0] < rows.join(sample, "id", "left_anti").agg(F.min("hash")).first()[0]
    assert hash_sample(rows, "id", 100, enough=100) is rows


def blocks(spark: SparkSession, spec: ModelSpec, as_of: datetime, times: list[datetime]) -> list[int]:
    rows = spark.createDataFrame([(str(number), time) for number, time in enumerate(times)], "id string, at timestamp")
    return [row.block for row in rows.orderBy("id").select(groupings_of(spec, as_of)[BY_TIME].alias("block")).collect()]


AT_SIX = datetime(2026, 1, 15, 6, tzinfo=UTC)


def test_a_block_is_a_utc_day(spark: SparkSession) -> None:
    times = [datetime(2026, 1, *day_and_hour, tzinfo=UTC) for day_and_hour in [(1, 6), (1, 23), (2, 0), (14, 23), (15, 5)]]

    assert blocks(spark, spec_with(), AT_SIX, times) == [0, 0, 1, 13, 14]


def test_labels_that_come_late_end_the_blocks_as_much_earlier(spark: SparkSession) -> None:
    times = [datetime(2026, 1, *day_and_hour, tzinfo=UTC) for day_and_hour in [(1, 6), (1, 23), (15, 5)]]

    numbers = blocks(spark, spec_with(split={"holdout": "14d", "label_delay": "2d"}), AT_SIX + timedelta(days=2), times)

    assert numbers == [0, 0, 14]


def test_a_block_of_less_than_seven_days_is_an_hour(spark: SparkSession) -> None:
    times = [AT_SIX - timedelta(days=6), AT_SIX - timedelta(days=6, minutes=-59), AT_SIX - timedelta(days=6, hours=-1)]

    assert blocks(spark, spec_with(split={"holdout": "6d"}), AT_SIX, times) == [0, 0, 1]


def test_more_than_two_hundred_blocks_are_merged_with_their_neighbours(spark: SparkSession) -> None:
    midnight = datetime(2026, 1, 15, tzinfo=UTC)
    times = [midnight - timedelta(days=day) for day in range(401, 0, -1)]

    numbers = blocks_in_order(spark, spec_with(split={"holdout": "401d"}), midnight, times)

    assert numbers == [day // 3 for day in range(401)]  # 401 days in threes: 134 blocks


def blocks_in_order(spark: SparkSession, spec: ModelSpec, as_of: datetime, times: list[datetime]) -> list[int]:
    rows = spark.createDataFrame([("x", time) for time in times], "id string, at timestamp")
    return [row.block for row in rows.orderBy("at").select(groupings_of(spec, as_of)[BY_TIME].alias("block")).collect()]


def test_rows_without_time_fall_into_thirty_blocks_by_id_whatever_else_is_there(spark: SparkSession) -> None:
    spec = spec_with(examples={**SPEC["examples"], "time": None}, split={"holdout": 0.2})
    rows = spark.range(3000).selectExpr("cast(id AS string) AS id").withColumn("block", groupings_of(spec, AT_SIX)[BY_ROW])

    sizes = {row.block: row["count"] for row in rows.groupBy("block").count().collect()}

    assert sorted(sizes) == list(range(30))
    assert min(sizes.values()) > 60  # 100 on average


@pytest.mark.parametrize(
    ("named", "groupings"),
    [
        ((), [BY_TIME]),
        (("time",), [BY_TIME]),
        (("customer",), [BY_CLUSTER]),
        (("time", "customer"), [BY_TIME, BY_CLUSTER, BY_BOTH]),
        (("customer", "time"), [BY_TIME, BY_CLUSTER, BY_BOTH]),
    ],
)
def test_rows_are_grouped_by_time_by_a_column_or_by_both(named: tuple[str, ...], groupings: list[str]) -> None:
    assert list(groupings_of(spec_with(gate={"metric": "rmse", "blocks": named}), AT_SIX)) == groupings


def test_many_customers_are_merged_into_two_hundred_blocks_and_one_customer_is_never_in_two(spark: SparkSession) -> None:
    by_customer = groupings_of(spec_with(gate={"metric": "rmse", "blocks": ["customer"]}), AT_SIX)[BY_CLUSTER]
    rows = (
        spark.range(20_000).selectExpr("if(id < 10, null, cast(id % 5000 AS string)) AS customer").select("customer", by_customer)
    )

    pairs = rows.toDF("customer", "block").distinct().toPandas()

    assert sorted(pairs.block.unique()) == list(range(200))
    assert len(pairs) == 5001  # the rows without a customer are one


def golden(spark: SparkSession, rows: list[tuple]) -> GoldenRows:
    indexer = StringIndexerModel.from_arrays_of_labels([["a", "b"]], ["gate"], ["gate_indexed"], handleInvalid="keep")
    pipeline = PipelineModel([indexer, SQLTransformer(statement="SELECT *, coalesce(delay, -1D) AS prediction FROM __THIS__")])
    frame = spark.createDataFrame(rows, "id string, delay double, gate string")
    return choose_golden_rows(collect_answers(pipeline.transform(frame), spec_with()), spec_with(), pipeline)


def test_golden_rows_reach_over_the_predictions_and_hold_the_odd_rows(spark: SparkSession) -> None:
    plain = [(f"p{i}", float(i % 1000), "ab"[i % 2]) for i in range(3000)]
    odd = [("n1", None, "a"), ("n2", 5.0, None), ("u1", 6.0, "never seen")]

    golden_rows = golden(spark, [*plain, *odd])

    assert golden_rows.columns == ("delay", "gate")
    assert len(golden_rows.rows) == len(golden_rows.expected) == 50
    assert {(None, "a"), (5.0, None), (6.0, "never seen")} <= set(golden_rows.rows)
    assert all(
        answer == ((-1.0 if row[0] is None else row[0]),)
        for row, answer in zip(golden_rows.rows, golden_rows.expected, strict=True)
    )
    assert {min((answer[0] + 1) // 25, 39) for answer in golden_rows.expected} == set(range(40))  # each fortieth of −1 to 999
    assert GoldenRows.model_validate_json(golden_rows.model_dump_json()) == golden_rows


def test_a_small_holdout_gives_all_its_rows_but_those_json_cannot_hold(spark: SparkSession) -> None:
    golden_rows = golden(spark, [("a", 1.0, "a"), ("b", 1.0, "b"), ("c", inf, "b"), ("d", -inf, None)])

    assert sorted(golden_rows.rows) == [(1.0, "a"), (1.0, "b")]


def test_where_json_can_hold_no_row_the_reason_is_given(spark: SparkSession) -> None:
    with pytest.raises(BadData, match="none of 2 holdout rows of late can be a golden row: JSON holds no infinity"):
        golden(spark, [("a", inf, "a"), ("b", -inf, "b")])


def test_a_retry_chooses_the_same_golden_rows(spark: SparkSession) -> None:
    rows = [(f"p{i}", float(i % 7), "ab"[i % 2]) for i in range(200)]

    assert golden(spark, rows) == golden(spark, rows[::-1])
