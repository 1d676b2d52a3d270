"""Lists of items, judged by hand and by scikit-learn."""

import math

import numpy as np
import pytest
import sklearn.metrics as reference
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from contract.gate import Gate
from spark_jobs.statistics.block_statistics import flat, reduce_by_blocks
from spark_jobs.statistics.metrics import measures_of
from spark_jobs.statistics.ranking import by_user


def lists(spark: SparkSession, *rows: tuple[str, str, float, float]) -> DataFrame:
    return spark.createDataFrame(list(rows), "user string, item string, relevance double, score double")


def test_a_list_is_worth_what_its_first_items_are(spark: SparkSession) -> None:
    rows = lists(
        spark,
        ("ada", "a", 3.0, 0.9),
        ("ada", "b", 0.0, 0.8),
        ("ada", "c", 2.0, 0.7),
        ("bob", "a", 0.0, 0.5),
        ("bob", "b", 1.0, 0.5),  # of equal score: after a
        ("cleo", "a", 0.0, 0.9),  # nothing is relevant to her
    )

    by_name = {row.user: (row.ndcg, row.precision) for row in by_user(rows, 2).collect()}

    assert by_name == {
        "ada": (pytest.approx(3 / (3 + 2 / math.log2(3))), 0.5),
        "bob": (pytest.approx(1 / math.log2(3)), 0.5),
    }


def test_lists_are_worth_what_scikit_learn_says(spark: SparkSession) -> None:
    rng = np.random.default_rng(3)
    relevance, scores = rng.integers(0, 4, (40, 12)).astype(float), rng.random((40, 12))
    rows = [(f"u{u}", f"i{i}", float(relevance[u, i]), float(scores[u, i])) for u in range(40) for i in range(12)]

    ndcg = by_user(lists(spark, *rows), 5).agg(F.avg("ndcg")).first()[0]

    assert ndcg == pytest.approx(reference.ndcg_score(relevance, scores, k=5))


def test_users_are_what_the_metrics_average(spark: SparkSession) -> None:
    rows = lists(spark, ("ada", "a", 1.0, 0.9), ("ada", "b", 0.0, 0.1), ("bob", "a", 0.0, 0.9), ("bob", "b", 1.0, 0.1))
    judged = by_user(rows, 1).select(F.lit(0).alias("block"), F.struct("ndcg", "precision").alias("challenger"))

    statistics = reduce_by_blocks(
        flat(judged, "block"), ["block"], measures_of(["ndcg", "precision_at_k"], "regression", Gate(metric="rmse"))
    )["block"]

    assert {name: estimate.value for (_, name), estimate in statistics.of.items()} == {"ndcg": 0.5, "precision_at_k": 0.5}


def test_a_score_that_is_no_number_makes_the_list_undefined(spark: SparkSession) -> None:
    rows = lists(spark, ("ada", "a", 1.0, math.nan), ("ada", "b", 0.0, 0.1), ("bob", "a", 1.0, 0.9))

    by_name = {row.user: row.ndcg for row in by_user(rows, 1).collect()}

    assert math.isnan(by_name["ada"])
    assert by_name["bob"] == 1.0
