import math
from datetime import UTC, datetime, timedelta

import pytest
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import DataFrame, SparkSession

from contract.errors import BadData
from contract.spec import ModelSpec
from spark_jobs.training.boosting import first_trees
from spark_jobs.training.candidates import FitPlan, plans_of
from spark_jobs.training.estimators import fit
from spark_jobs.training.spans import validation_split
from spark_jobs.training.walk_forward import TICK, fold_intervals, walk_forward
from tests.spark_jobs.searches import search


def spec_with(algorithm: dict, metric: str = "log_loss", task: str = "binary", timed: bool = True) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "name": "late",
            "description": "late?",
            "owner": "ops",
            "sources": {"flights": {"format": "parquet", "path": "flights"}},
            "examples": {"id": "id", "label": "late", "numeric": ["delay", "wind"], **({"time": "at"} if timed else {})},
            "task": task,
            "split": {"holdout": "1d", "gap": "2m"} if timed else {"holdout": 0.5},
            "algorithm": algorithm,
            "gate": {"metric": metric},
        }
    )


END = datetime(2026, 1, 1, 1, 39, tzinfo=UTC) + TICK
GRID = {"name": "gbt_classifier", "params": {"maxDepth": 2}, "search": {"grid": {"stepSize": [0.1, 0.5], "maxIter": [3, 1]}}}


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    """100 rows, one a minute: late where delay (0 to 9, repeating) is 5 or more, but for every seventh row."""
    typed = [
        (str(i), datetime(2026, 1, 1) + timedelta(minutes=i), float((i % 10 >= 5) != (i % 7 == 0)), float(i % 10), float(i % 3))
        for i in range(100)
    ]
    frame = spark.createDataFrame(typed, "id string, at timestamp, late double, delay double, wind double")
    return VectorAssembler(inputCols=["delay", "wind"], outputCol="features").transform(frame).cache()


def test_combinations_that_differ_in_the_length_of_boosting_share_one_fit() -> None:
    assert plans_of(spec_with(GRID), levels=0, seed=1) == [
        FitPlan({"maxDepth": 2, "stepSize": 0.1, "maxIter": 3, "maxBins": 32}, lengths=(1, 3)),
        FitPlan({"maxDepth": 2, "stepSize": 0.5, "maxIter": 3, "maxBins": 32}, lengths=(1, 3)),
    ]


def test_other_algorithms_fit_each_combination() -> None:
    grid = {"regParam": [0.0, 0.1], "maxIter": [5, 10]}

    plans = plans_of(spec_with({"name": "logistic_regression", "search": {"grid": grid}}), levels=0, seed=1)

    assert [plan.params for plan in plans] == [
        {"regParam": 0.0, "maxIter": 5},
        {"regParam": 0.0, "maxIter": 10},
        {"regParam": 0.1, "maxIter": 5},
        {"regParam": 0.1, "maxIter": 10},
    ]
    assert all(plan.lengths == () for plan in plans)


@pytest.mark.parametrize(("algorithm", "answer"), [("gbt_classifier", "probability"), ("gbt_regressor", "prediction")])
def test_the_first_trees_of_a_long_fit_answer_as_the_short_fit(rows: DataFrame, algorithm: str, answer: str) -> None:
    params = {"maxDepth": 2, "subsamplingRate": 0.7}
    long = fit(algorithm, {**params, "maxIter": 4}, rows, "late", seed=7)
    short = fit(algorithm, {**params, "maxIter": 2}, rows, "late", seed=7)

    prefix = first_trees(long, 2)

    assert prefix.getNumTrees == 2
    assert prefix.transform(rows).select(answer).collect() == short.transform(rows).select(answer).collect()
    assert long.transform(rows).select(answer).collect() != short.transform(rows).select(answer).collect()


def test_validation_rows_are_the_newest_and_the_gap_is_kept_before_them(rows: DataFrame) -> None:
    fitted, validation = validation_split(rows, spec_with(GRID))

    assert sorted(int(row.id) for row in validation.collect()) == list(range(79, 100))  # from the 80th percentile on
    assert sorted(int(row.id) for row in fitted.collect()) == list(range(77))  # two minutes before it


def folded(algorithm: dict, guards: tuple = ()) -> ModelSpec:
    """Folds of twenty minutes, with a gap of two."""
    spec = spec_with(algorithm).model_dump()
    return ModelSpec.model_validate(
        {**spec, "split": {"holdout": "20m", "gap": "2m", "folds": 3}, "gate": {**spec["gate"], "guards": guards}}
    )


def test_folds_follow_each_other_and_each_learns_from_what_precedes_it_by_the_gap(rows: DataFrame) -> None:
    folds = [[sorted(int(row.id) for row in part.collect()) for part in fold] for fold in walk_forward(rows, folded(GRID), END)]

    assert folds == [
        [list(range(78)), list(range(80, 100))],
        [list(range(58)), list(range(60, 80))],
        [list(range(38)), list(range(40, 60))],
    ]


def test_a_candidate_is_scored_by_the_mean_of_its_folds(rows: DataFrame) -> None:
    candidates = search(rows, folded(GRID), [0, 1])

    assert len(candidates) == 4
    assert all(len(candidate.spans) == 3 and candidate.score == pytest.approx(sum(candidate.spans) / 3) for candidate in candidates)
    assert [candidate.score for candidate in candidates] == sorted(candidate.score for candidate in candidates)


def test_guards_on_folds_see_the_rows_of_all_of_them(rows: DataFrame) -> None:
    spec = folded(GRID, ({"metric": "accuracy", "min": 0.5, "over": "folds"}, {"metric": "auc", "min": 0.5}))

    intervals = fold_intervals(rows, spec, [0, 1], {"maxDepth": 2, "maxIter": 3}, seed=1)

    fits = [fit("gbt_classifier", {"maxDepth": 2, "maxIter": 3}, fold.train, "late", 1) for fold in walk_forward(rows, spec, END)]
    right = [
        fitted.transform(fold.validation).where("prediction = late").count()
        for fitted, fold in zip(fits, walk_forward(rows, spec, END), strict=True)
    ]
    assert list(intervals) == ["accuracy"]
    assert intervals["accuracy"].value == pytest.approx(sum(right) / 60)
    assert intervals["accuracy"].why == "a class has 29 rows and at least 50 are needed"


def test_without_time_validation_rows_are_chosen_by_another_hash_than_the_holdout(rows: DataFrame) -> None:
    spec = spec_with(GRID, timed=False)

    fitted, validation = validation_split(rows, spec)

    assert 8 <= validation.count() <= 35  # a fifth of 100
    assert fitted.count() + validation.count() == 100
    assert fitted.join(validation, "id").isEmpty()


def test_the_best_candidate_comes_first_and_every_one_is_told(rows: DataFrame, capsys: pytest.CaptureFixture) -> None:
    separable = rows.withColumn("late", (rows.delay >= 5).cast("double"))

    candidates = search(separable, spec_with(GRID), [0, 1])

    assert len(candidates) == 4
    assert (candidates[0].params["stepSize"], candidates[0].params["maxIter"]) == (0.5, 3)  # the longest way in the largest steps
    assert candidates[0].score < candidates[1].score < candidates[2].score == candidates[3].score  # the first tree has no step size
    assert capsys.readouterr().out.count(": log_loss 0.") == 4


def test_a_metric_that_is_better_when_higher_is_ordered_the_other_way(rows: DataFrame) -> None:
    grid = {"name": "logistic_regression", "search": {"grid": {"maxIter": [0, 20]}}}

    candidates = search(rows, spec_with(grid, metric="auc"), [0, 1])

    assert [candidate.params["maxIter"] for candidate in candidates] == [20, 0]
    assert candidates[1].score == 0.5  # a model that has not begun to learn


def test_a_regression_is_searched_by_its_own_metric(rows: DataFrame) -> None:
    grid = {"name": "decision_tree_regressor", "search": {"grid": {"maxDepth": [0, 3]}}}

    candidates = search(rows, spec_with(grid, metric="rmse", task="regression"), None)

    assert [candidate.params["maxDepth"] for candidate in candidates] == [3, 0]


def test_validation_rows_that_cannot_be_judged_are_told(rows: DataFrame) -> None:
    with pytest.raises(BadData, match="auc is undefined on the search's validation rows"):
        search(rows.where("late = 1 or id < 50"), spec_with(GRID, metric="auc"), [0, 1])


def test_a_candidate_that_never_says_yes_is_the_worst_and_does_not_end_the_search(rows: DataFrame) -> None:
    grid = {"name": "logistic_regression", "search": {"grid": {"maxIter": [0, 20]}}}

    candidates = search(rows, spec_with(grid, metric="precision"), [0, 1])

    assert [candidate.params["maxIter"] for candidate in candidates] == [20, 0]
    assert candidates[1].score == -math.inf


def test_a_gap_that_leaves_nothing_to_fit_is_told(rows: DataFrame) -> None:
    with pytest.raises(BadData, match="has no rows to fit"):
        search(rows.where("id in ('98', '99')"), spec_with(GRID), [0, 1])
