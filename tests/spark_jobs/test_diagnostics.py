from pathlib import Path

import pytest
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.tracking.diagnostics import calibration, confusion, predicted_actual, residuals
from spark_jobs.tracking.plots import draw


def classified(spark: SparkSession, *rows: tuple[float, float, list[float]]) -> DataFrame:
    """Label, prediction, probabilities."""
    typed = [(label, prediction, Vectors.dense(probability)) for label, prediction, probability in rows]
    return spark.createDataFrame(typed, ["y", "prediction", "probability"])


def test_a_confusion_has_a_cell_for_every_pair_and_leaves_unknown_classes_out(spark: SparkSession) -> None:
    answer = [0.5, 0.5]
    scored = classified(spark, (0.0, 0.0, answer), (0.0, 1.0, answer), (0.0, 1.0, answer), (-1.0, 0.0, answer))

    assert confusion(scored, "y", ["early", "late"]) == [
        {"label": "early", "prediction": "early", "rows": 1},
        {"label": "early", "prediction": "late", "rows": 2},
        {"label": "late", "prediction": "early", "rows": 0},
        {"label": "late", "prediction": "late", "rows": 0},
    ]


def test_calibration_sets_the_probability_of_one_beside_how_often_it_was_one(spark: SparkSession) -> None:
    scored = classified(spark, (0.0, 0.0, [0.75, 0.25]), (1.0, 0.0, [0.75, 0.25]), (1.0, 1.0, [0.0, 1.0]))

    assert calibration(scored, "y", binary=True) == [
        {"predicted": 0.25, "observed": 0.5, "rows": 2},
        {"predicted": 1.0, "observed": 1.0, "rows": 1},
    ]


def test_calibration_of_several_classes_is_that_of_the_predicted_one(spark: SparkSession) -> None:
    scored = classified(spark, (2.0, 1.0, [0.25, 0.5, 0.25]), (1.0, 1.0, [0.25, 0.5, 0.25]))

    assert calibration(scored, "y", binary=False) == [{"predicted": 0.5, "observed": 0.5, "rows": 2}]


def test_residuals_are_predicted_minus_actual_in_bins_whose_ends_take_the_rest(spark: SparkSession) -> None:
    scored = spark.createDataFrame([(0.0, float(residual)) for residual in range(21)], ["y", "prediction"])

    table = residuals(scored, "y")

    assert (len(table), table[0]["low"], table[-1]["high"]) == (20, 0.0, 20.0)
    assert [row["rows"] for row in table] == [1] * 19 + [2]


def test_equal_residuals_share_one_bin(spark: SparkSession) -> None:
    table = residuals(spark.createDataFrame([(1.0, 3.0), (2.0, 4.0)], ["y", "prediction"]), "y")

    assert table[0] == {"low": 2.0, "high": 3.0, "rows": 2}
    assert sum(row["rows"] for row in table) == 2


def test_predictions_are_set_beside_actual_values_by_tenths(spark: SparkSession) -> None:
    scored = spark.createDataFrame([(float(number) + 1, float(number)) for number in range(20)], ["y", "prediction"])

    table = predicted_actual(scored, "y")

    assert [row["rows"] for row in table] == [2] * 10
    assert table[0] == {"predicted": 0.5, "actual": 1.5, "rows": 2}


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("confusion", [{"label": a, "prediction": b, "rows": 3} for a in (0, 1) for b in (0, 1)]),
        ("calibration", [{"predicted": 0.5, "observed": 0.4, "rows": 9}]),
        ("residuals", [{"low": 0.0, "high": 1.0, "rows": 9}]),
        ("predicted_actual", [{"predicted": 1.0, "actual": 1.5, "rows": 9}]),
        ("importance", [{"feature": "distance", "share": 0.75}, {"feature": "carrier", "share": 0.25}]),
    ],
)
def test_every_table_has_a_picture(name: str, table: list[dict], tmp_path: Path) -> None:
    draw(name, table, tmp_path / "picture.png")

    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
