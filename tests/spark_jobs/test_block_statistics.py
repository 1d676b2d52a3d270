"""Metrics from block statistics against scikit-learn on the same rows, whole and without each block."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn import metrics as reference

from contract.comparison import MetricResult
from contract.gate import Costs, Gate
from contract.metrics import METRICS
from contract.spec import ModelSpec
from spark_jobs.statistics.block_statistics import BINS, Statistics, flat, reduce_by_blocks
from spark_jobs.statistics.intervals import results_of
from spark_jobs.statistics.metrics import measures_of
from spark_jobs.statistics.predictions import answer
from tests.spark_jobs.runs import run_of

BINARY = "block long, label double, ours double, theirs double"
SPEC = {
    "name": "late",
    "description": "late?",
    "owner": "ops",
    "sources": {"flights": {"format": "parquet", "path": "flights"}},
    "examples": {"id": "id", "time": "at", "label": "label", "numeric": ["delay"]},
    "task": "binary",
    "split": {"holdout": "14d"},
    "algorithm": {"name": "logistic_regression"},
    "gate": {"metric": "auc"},
}


def binary_pairs(rows: DataFrame) -> DataFrame:
    """`ours` and `theirs` are probabilities of class 1."""
    return rows.select(
        "block", *(binary_answer(name).alias(side) for name, side in [("ours", "challenger"), ("theirs", "reference")])
    )


def binary_answer(name: str) -> F.Column:
    score = F.col(name)
    return answer("binary", F.col("label"), [0, 1], F.array(1 - score, score), (score > 0.5).cast("double"), 0.0)


def value_of(statistics: Statistics, metric: str, side: str = "challenger") -> float:
    return statistics.of[side, metric].value


COSTS = Costs(true_positive=-2, false_positive=1, false_negative=5)
GATE = Gate(metric="log_loss", threshold=0.3, costs=COSTS, quantile=0.8)


def reduce(pairs: DataFrame, task: str, names: tuple[str, ...] = (), classes: list[str] | None = None) -> Statistics:
    return reduce_by_blocks(flat(pairs, "block"), ["block"], measures_of(names or METRICS[task], task, GATE, classes))["block"]


def both(rows: DataFrame, ours: F.Column) -> DataFrame:
    """The same answer on both sides."""
    return rows.select("block", ours.alias("challenger"), ours.alias("reference"))


def assert_is(
    expected: Callable, statistics: Statistics, name: str, rows: pd.DataFrame, side: str, score: str, **off: float
) -> None:
    """Checks the value on all rows, and without each block in turn."""
    estimate = statistics.of[side, name]
    assert estimate.value == pytest.approx(expected(rows.label, rows[score]), **off), name
    for index, block in enumerate(sorted(rows.block.unique())):
        rest = rows[rows.block != block]
        assert estimate.without[index] == pytest.approx(expected(rest.label, rest[score]), **off), name


def random_rows(seed: int, count: int = 2000, blocks: int = 12) -> pd.DataFrame:
    """Informative scores with ties: `theirs` is rounded, and has zeros of both signs."""
    rng = np.random.default_rng(seed)
    label = (rng.random(count) < 0.2).astype(float)
    ours = 1 / (1 + np.exp(-(rng.normal(size=count) + 1.5 * label - 1)))
    theirs = np.clip(np.round(ours + 0.15 * rng.normal(size=count), 1), 0, 1)
    return pd.DataFrame({"block": rng.integers(0, blocks, count) * 3, "label": label, "ours": ours, "theirs": theirs})


def test_sums_of_two_rows_typed_by_hand(spark: SparkSession) -> None:
    rows = spark.createDataFrame([(1, 1.0, 0.8, 0.5), (1, 0.0, 0.4, 0.9)], BINARY)

    statistics = reduce(binary_pairs(rows), "binary")

    assert statistics.rows.tolist() == [2]
    assert value_of(statistics, "log_loss") == pytest.approx((-math.log(0.8) - math.log(0.6)) / 2)
    assert value_of(statistics, "brier") == pytest.approx((0.2**2 + 0.4**2) / 2)
    assert value_of(statistics, "accuracy") == 0.5  # both are above the threshold of 0.3
    assert value_of(statistics, "auc") == 1.0
    assert value_of(statistics, "accuracy", "reference") == 0.5
    assert value_of(statistics, "auc", "reference") == 0.0


CLASS_REFERENCES = {
    "log_loss": lambda label, score: -np.log(np.clip(np.where(label == 1, score, 1 - score), 1e-15, 1 - 1e-15)).mean(),
    "brier": reference.brier_score_loss,
    "auc": reference.roc_auc_score,
    "average_precision": reference.average_precision_score,
    "accuracy": lambda label, score: reference.accuracy_score(label, score > 0.3),
    "balanced_accuracy": lambda label, score: reference.balanced_accuracy_score(label, score > 0.3),
    "f1": lambda label, score: reference.f1_score(label, score > 0.3),
    "precision": lambda label, score: reference.precision_score(label, score > 0.3),
    "recall": lambda label, score: reference.recall_score(label, score > 0.3),
    "expected_cost": lambda label, score: np.where(score > 0.3, np.where(label == 1, -2, 1), np.where(label == 1, 5, 0)).mean(),
}


@pytest.mark.parametrize("side", ["challenger", "reference"])
def test_each_class_metric_is_scikit_learn_s_whole_and_without_each_block(spark: SparkSession, side: str) -> None:
    rows = random_rows(1)
    score = {"challenger": "ours", "reference": "theirs"}[side]

    statistics = reduce(binary_pairs(spark.createDataFrame(rows, BINARY)), "binary")

    assert set(CLASS_REFERENCES) == set(METRICS["binary"])
    assert statistics.positives == rows.label.sum()
    for name, expected in CLASS_REFERENCES.items():
        assert_is(expected, statistics, name, rows, side, score, abs=1e-10)


REGRESSION_REFERENCES: dict[str, Callable] = {
    "rmse": reference.root_mean_squared_error,
    "mae": reference.mean_absolute_error,
    "mape": reference.mean_absolute_percentage_error,
    "r2": reference.r2_score,
    "quantile_loss": lambda label, predicted: reference.mean_pinball_loss(label, predicted, alpha=0.8),
    "mean_return": lambda label, predicted: (np.sign(predicted) * label).mean(),
    "sharpe": lambda label, predicted: (np.sign(predicted) * label).mean() / (np.sign(predicted) * label).std(ddof=1),
}


@pytest.mark.parametrize("middle", [0.0, 1e5])
def test_each_regression_metric_is_scikit_learn_s_also_where_labels_are_far_from_zero(spark: SparkSession, middle: float) -> None:
    rng = np.random.default_rng(2)
    rows = pd.DataFrame({"block": rng.integers(0, 9, 1500), "label": middle + rng.normal(size=1500)})
    rows["ours"] = rows.label + 0.5 * rng.normal(size=1500)
    ours = answer("regression", F.col("label"), None, None, F.col("ours"), middle + 0.3)
    frame = spark.createDataFrame(rows, "block long, label double, ours double")

    statistics = reduce(both(frame, ours), "regression")

    assert set(REGRESSION_REFERENCES) == set(METRICS["regression"])
    for name, expected in REGRESSION_REFERENCES.items():
        assert_is(expected, statistics, name, rows, "challenger", "ours", rel=1e-4 if name == "sharpe" and middle else 1e-7)


def test_a_label_of_zero_has_no_relative_error_and_equal_returns_no_sharpe(spark: SparkSession) -> None:
    rows = spark.createDataFrame([(1, 2.0, 1.0), (2, 0.0, 1.0), (3, 2.0, 1.0)], "block long, label double, ours double")
    ours = answer("regression", F.col("label"), None, None, F.col("ours"), 0.0)

    whole = reduce(both(rows, ours), "regression", ("mape",))
    equal = reduce(both(rows.where("label > 0"), ours), "regression", ("sharpe", "mape"))

    assert math.isnan(value_of(whole, "mape"))
    assert (math.isnan(value_of(equal, "sharpe")), value_of(equal, "mape")) == (True, 0.5)


MULTICLASS_REFERENCES: dict[str, Callable] = {
    "accuracy": reference.accuracy_score,
    "macro_f1": lambda label, called: reference.f1_score(label, called, average="macro"),
    "weighted_f1": lambda label, called: reference.f1_score(label, called, average="weighted"),
}


def test_each_metric_of_several_classes_is_scikit_learn_s_also_with_a_class_that_is_never_called(spark: SparkSession) -> None:
    rng = np.random.default_rng(3)
    labels = ["a", "b", "c", "rare"]
    rows = pd.DataFrame({"block": rng.integers(0, 8, 800), "label": rng.choice(labels, 800, p=[0.5, 0.3, 0.17, 0.03])})
    rows["guess"] = np.where(rng.random(800) < 0.6, rows.label.map(labels.index).clip(0, 2), rng.integers(0, 3, 800)).astype(float)
    rows["called"] = rows.guess.map(lambda guess: labels[int(guess)])
    frame = spark.createDataFrame(rows[["block", "label", "guess"]], "block long, label string, guess double")
    certain = F.array(*(F.when(F.col("guess") == guess, 0.7).otherwise(0.1) for guess in range(4)))
    ours = answer("multiclass", F.col("label"), labels, certain, F.col("guess"), 0.0)

    statistics = reduce(both(frame, ours), "multiclass", classes=labels)

    for name, expected in MULTICLASS_REFERENCES.items():
        assert_is(expected, statistics, name, rows, "challenger", "called", abs=1e-12)


@pytest.mark.parametrize(
    ("name", "columns", "rows", "expected"),
    [
        ("silhouette", "own double, nearest double", [(1.0, 4.0), (3.0, 1.5), (0.0, 0.0)], (0.75 - 0.5 + 0.0) / 3),
        ("perplexity", "log_likelihood double, tokens double", [(-6.0, 2.0), (-2.0, 2.0)], math.exp(2.0)),
    ],
)
def test_metrics_of_models_without_labels(spark: SparkSession, name: str, columns: str, rows: list, expected: float) -> None:
    ours = F.struct(*(F.col(column.split()[0]) for column in columns.split(", ")))
    frame = spark.createDataFrame([(1, *row) for row in rows], f"block long, {columns}")

    assert value_of(reduce(both(frame, ours), "regression", (name,)), name) == pytest.approx(expected)


def test_a_constant_label_has_no_r2() -> None:
    r2 = measures_of(["r2"], "regression", GATE)["r2"].value
    assert math.isnan(r2(np.array([4.0, 1.0, 0.0, 0.0])))
    assert math.isnan(r2(np.array([4.0, 1.0, 4 * 0.1, 4 * 0.1**2])))


def test_multiclass_takes_the_probability_of_the_true_class_and_none_for_a_class_never_seen(spark: SparkSession) -> None:
    rows = spark.createDataFrame(
        [(1, "a", [0.7, 0.2, 0.1], 0.0), (1, "c", [0.5, 0.2, 0.3], 0.0), (1, "new", [1.0, 0.0, 0.0], 0.0)],
        "block long, label string, probability array<double>, prediction double",
    )
    ours = answer("multiclass", F.col("label"), ["a", "b", "c"], F.col("probability"), F.col("prediction"), 0.0)

    statistics = reduce(both(rows, ours), "multiclass", classes=["a", "b", "c", "new"])

    assert value_of(statistics, "log_loss") == pytest.approx((-math.log(0.7) - math.log(0.3) - math.log(1e-15)) / 3)
    assert value_of(statistics, "accuracy") == pytest.approx(1 / 3)


def test_a_certain_and_wrong_probability_costs_much_but_not_everything(spark: SparkSession) -> None:
    rows = spark.createDataFrame([(1, 1.0, 0.0, 1.0), (1, 0.0, 1.0, 0.0)], BINARY)

    statistics = reduce(binary_pairs(rows), "binary", ("log_loss",))

    assert value_of(statistics, "log_loss") == pytest.approx(34.5387763949)
    assert value_of(statistics, "log_loss", "reference") == pytest.approx(1e-15, rel=0.2)


@pytest.mark.parametrize("missing", [float("nan"), None])
def test_a_missing_answer_never_looks_like_a_good_one(spark: SparkSession, missing: float | None) -> None:
    rows = spark.createDataFrame([(1, 1.0, missing, 0.6), (1, 0.0, 0.2, 0.1), (2, 1.0, 0.9, 0.9), (2, 0.0, 0.1, 0.2)], BINARY)

    statistics = reduce(binary_pairs(rows), "binary")

    assert all(math.isnan(value_of(statistics, name)) for name in ("log_loss", "brier", "auc"))
    assert value_of(statistics, "auc", "reference") == 1.0


def test_scores_of_which_none_is_a_number_have_no_area(spark: SparkSession) -> None:
    rows = spark.createDataFrame([(1, 1.0, float("nan"), 0.6), (1, 0.0, float("nan"), 0.1)], BINARY)

    assert math.isnan(value_of(reduce(binary_pairs(rows), "binary", ("auc",)), "auc"))


def test_the_area_of_one_class_is_undefined_and_of_equal_scores_a_half(spark: SparkSession) -> None:
    mixed = spark.createDataFrame([(1, 1.0, 0.3, 0.3), (1, 0.0, 0.3, 0.3), (2, 0.0, 0.3, 0.3)], BINARY)

    statistics = reduce(binary_pairs(mixed), "binary", ("auc",))
    estimate = statistics.of["challenger", "auc"]

    assert estimate.value == 0.5
    assert math.isnan(estimate.without[0])  # without block 1 there is no late flight
    assert estimate.without[1] == 0.5


@pytest.mark.parametrize(
    ("score", "label"),
    [
        ("rand(1)", "rand(2) < 0.02 + 0.2 * score"),
        ("if(id % 3 = 0, 0.25, rand(3))", "rand(4) < score"),  # a third of all rows share one score
        ("id / 150000", "id * 12288D / 150000 % 1 >= 0.5"),  # the worst case: inside each bin all negatives come first
        ("pow(rand(5), 40)", "rand(6) < score"),  # most scores near zero
    ],
)
def test_the_binned_area_is_within_a_ten_thousandth(spark: SparkSession, score: str, label: str) -> None:
    rows = spark.range(150_000).selectExpr("id", f"{score} AS score")
    columns = ["id % 20 AS block", "score", f"double({label}) AS label", "score AS ours", "score AS theirs"]
    kept = rows.selectExpr(*columns).persist()
    labels, scores = (np.array(column) for column in zip(*kept.select("label", "score").collect(), strict=True))

    statistics = reduce(binary_pairs(kept), "binary", ("auc", "average_precision"))

    assert abs(value_of(statistics, "auc") - reference.roc_auc_score(labels, scores)) < 1e-4
    assert abs(value_of(statistics, "average_precision") - reference.average_precision_score(labels, scores)) < 1e-4
    assert BINS >= 4096
    kept.unpersist()


def test_many_rows_have_a_fine_value_and_coarse_blocks(spark: SparkSession) -> None:
    rows = random_rows(8, count=40_000)
    labels = {side: rows[side] for side in ("ours", "theirs")}

    pairs = flat(binary_pairs(spark.createDataFrame(rows, BINARY)), "block")
    measures = measures_of(("auc", "average_precision"), "binary", GATE)
    statistics = reduce_by_blocks(pairs, ["block"], measures, few=10_000, sampled=20_000)["block"]

    for name, expected in (("auc", reference.roc_auc_score), ("average_precision", reference.average_precision_score)):
        for side, scores in (("challenger", labels["ours"]), ("reference", labels["theirs"])):
            estimate = statistics.of[side, name]
            assert abs(estimate.value - expected(rows.label, scores)) < 2e-5
            for index, block in enumerate(sorted(rows.block.unique())):
                rest = rows.block != block
                moved = expected(rows.label[rest], scores[rest]) - expected(rows.label, scores)
                assert estimate.without[index] - estimate.value == pytest.approx(moved, rel=0.02, abs=1e-5)


def results(spark: SparkSession, rows: pd.DataFrame) -> tuple[MetricResult, ...]:
    statistics = reduce(binary_pairs(spark.createDataFrame(rows, BINARY)), "binary")
    return results_of({"time_block": statistics}, run_of(ModelSpec.model_validate(SPEC)))


def test_the_gate_s_metric_comes_first_and_every_metric_has_its_intervals(spark: SparkSession) -> None:
    metric_results = results(spark, random_rows(3))

    assert [result.metric for result in metric_results] == [
        *("auc", "log_loss", "brier", "average_precision", "accuracy", "balanced_accuracy", "f1", "precision", "recall")
    ]
    for result in metric_results:
        assert result.improvement.low < result.improvement.value < result.improvement.high
        assert result.improvement.blocks == 12
        sign = -1 if result.metric in ("log_loss", "brier") else 1
        assert result.improvement.value == pytest.approx(sign * (result.challenger.value - result.reference.value))


def test_fewer_than_fifty_rows_of_a_class_show_nothing(spark: SparkSession) -> None:
    rows = random_rows(6)
    rare = pd.concat([rows[rows.label == 0], rows[rows.label == 1].head(49)])

    metric_results = results(spark, rare)

    assert {result.improvement.why for result in metric_results} == {"a class has 49 rows and at least 50 are needed"}
    assert {result.improvement.low for result in metric_results} == {None}
    assert all(result.improvement.value is not None for result in metric_results)


def test_swapping_the_models_flips_the_sign(spark: SparkSession) -> None:
    rows = random_rows(4)
    swapped = rows.rename(columns={"ours": "theirs", "theirs": "ours"})[["block", "label", "ours", "theirs"]]

    for one, other in zip(results(spark, rows), results(spark, swapped), strict=True):
        numbers = (one.improvement.value, one.improvement.low, one.improvement.high)
        assert numbers == pytest.approx((-other.improvement.value, -other.improvement.high, -other.improvement.low), abs=1e-12)


def test_permuting_the_rows_changes_nothing(spark: SparkSession) -> None:
    rows = random_rows(5)

    for one, other in zip(results(spark, rows), results(spark, rows.sample(frac=1, random_state=1)), strict=True):
        bounds = (other.improvement.low, other.improvement.high)
        assert (one.improvement.low, one.improvement.high) == pytest.approx(bounds, abs=1e-11)
