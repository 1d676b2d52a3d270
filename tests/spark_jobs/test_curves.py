"""Reliability diagram, ranking and residual curves of both sides, from hand-written rows."""

import math

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.comparison.curves import curves_of
from spark_jobs.statistics.block_statistics import flat


def binary(spark: SparkSession, *rows: tuple[float, int]) -> DataFrame:
    side = F.struct("score", "positive")
    return spark.createDataFrame(list(rows), "score double, positive int").select(
        side.alias("challenger"), F.struct((1 - F.col("score")).alias("score"), "positive").alias("reference")
    )


def test_two_classes_have_a_calibration_and_a_ranking(spark: SparkSession) -> None:
    shown = curves_of(flat(binary(spark, (0.05, 0), (0.06, 0), (0.07, 1), (0.95, 1), (1.0, 1))), "binary")["challenger"]

    assert [(pytest.approx(predicted), observed, rows) for predicted, observed, rows in shown.calibration] == [
        (pytest.approx(0.06), pytest.approx(1 / 3), 3),
        (pytest.approx(0.975), 1.0, 2),
    ]
    assert shown.calibration_error == pytest.approx((3 * (1 / 3 - 0.06) + 2 * 0.025) / 5)
    assert [tuple(map(pytest.approx, point)) for point in shown.ranking] == [
        (0.0, 1 / 3, 1.0),
        (0.0, 2 / 3, 1.0),
        (0.0, 1.0, 1.0),
        (0.5, 1.0, 0.75),
        (1.0, 1.0, 0.6),
    ]


def test_one_class_has_no_curves(spark: SparkSession) -> None:
    assert curves_of(flat(binary(spark, (0.1, 1), (0.2, 1))), "binary") == {}


def numbers(spark: SparkSession, *errors: tuple[float, float]) -> DataFrame:
    return spark.createDataFrame(list(errors), "ours double, theirs double").select(
        F.struct(F.col("ours").alias("error")).alias("challenger"), F.struct(F.col("theirs").alias("error")).alias("reference")
    )


def test_residuals_of_both_sides_are_counted_in_the_same_bins(spark: SparkSession) -> None:
    shown = curves_of(flat(numbers(spark, (-4.0, 1.0), (0.1, 0.1), (3.9, math.nan), (0.1, 2.0))), "regression")

    ours, theirs = shown["challenger"].residuals, shown["reference"].residuals
    assert [(low, high) for low, high, _ in ours] == [(low, high) for low, high, _ in theirs]
    assert (ours[0], ours[-1][1], len(ours)) == ((-4.0, -3.8, 1), 4.0, 40)
    assert [rows for _, _, rows in ours if rows] == [1, 2, 1]
    assert sum(rows for _, _, rows in theirs) == 3  # what is no number is not shown


def test_residuals_of_zero_only_are_not_drawn(spark: SparkSession) -> None:
    assert curves_of(flat(numbers(spark, (0.0, 0.0))), "regression") == {}
