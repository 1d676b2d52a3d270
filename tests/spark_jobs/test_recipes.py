"""Two recipes on the same folds. Most ids have a time of their own, an hour apart; the folds are two days each."""

from collections.abc import Callable
from datetime import UTC, timedelta
from pathlib import Path

import numpy as np
import pytest
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession

from contract.documents import Snapshot
from contract.spec import ModelSpec
from spark_jobs.comparison.recipes import changes_of, compare_recipes
from spark_jobs.tracking.model_versions import Version
from tests.spark_jobs.runs import AS_OF, run_of

HOURS = 24 * 20
SPEC = {
    "name": "delay",
    "description": "how late?",
    "owner": "ops",
    "sources": {"flights": {"format": "parquet", "path": "flights"}},
    "examples": {"id": "id", "time": "at", "label": "late", "numeric": ["x"]},
    "task": "regression",
    "split": {"holdout": "2d", "gap": "3h", "folds": 4},
    "algorithm": {"name": "linear_regression"},
    "gate": {"metric": "rmse"},
}
WIDER = {**SPEC["examples"], "numeric": ["x", "y"]}


def version(sql: str | None = None, **changes: object) -> Version:
    spec = ModelSpec.model_validate({**SPEC, **changes})
    until = AS_OF - timedelta(days=20)
    return Version(PipelineModel([]), spec, sql, None, {}, until, until, Path("onnx"), "r")


@pytest.fixture(scope="module")
def flights(spark: SparkSession) -> DataFrame:
    """late = 2·x + y, and noise."""
    rng = np.random.default_rng(4)
    x, y, noise = rng.normal(size=(3, HOURS))
    since = AS_OF.replace(tzinfo=UTC) - timedelta(hours=HOURS)
    rows = [(f"f{i}", since + timedelta(hours=i), float(x[i]), float(y[i]), float((2 * x + y + noise)[i])) for i in range(HOURS)]
    return spark.createDataFrame(rows, "id string, at timestamp, x double, y double, late double")


@pytest.fixture(scope="module")
def snapshot(flights: DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    home = tmp_path_factory.mktemp("recipes")
    flights.write.parquet(f"{home}/flights")
    return Snapshot(uri=str(home), fingerprint="f", rows={"flights": HOURS}, as_of=AS_OF)


def rmse_by_hand(flights: DataFrame, features: list[str]) -> float:
    """Ordinary least squares by numpy, on what precedes the holdout by the gap."""
    table = flights.orderBy("at").toPandas()[: HOURS - 48 - 3]
    errors = []
    for end in (len(table) - 48 * fold for fold in range(4)):
        past, ahead = table[: end - 48 - 3], table[end - 48 : end]
        design = [np.column_stack([part[features], np.ones(len(part))]) for part in (past, ahead)]
        weights = np.linalg.lstsq(design[0], past["late"], rcond=None)[0]
        errors.append(ahead["late"] - design[1] @ weights)
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))


def test_both_recipes_are_fitted_to_what_precedes_each_fold_and_judged_on_it(flights: DataFrame, snapshot: Snapshot) -> None:
    change = compare_recipes(run_of(version(examples=WIDER).spec), snapshot, version(examples=WIDER), version())

    assert (change.changed, change.rows, change.why) == (("columns",), 4 * 48, "")
    assert change.result.challenger.value == pytest.approx(rmse_by_hand(flights, ["x", "y"]))
    assert change.result.reference.value == pytest.approx(rmse_by_hand(flights, ["x"]))
    assert change.result.improvement.low > 0
    assert change.result.improvement.blocks == 9  # days that they touch


def test_an_unchanged_recipe_is_not_compared(snapshot: Snapshot) -> None:
    assert compare_recipes(run_of(version().spec), snapshot, version(), version()._replace(params={"regParam": 0.5})) is None


SHORT = {"split": {**SPEC["split"], "folds": 2}}  # what stands in the way is seen on any folds
WHY: dict[str, tuple[Callable[[], Version], Callable[[], Version], str]] = {
    "no folds": (
        lambda: version(examples=WIDER, split={"holdout": "2d"}),
        version,
        "recipes are compared on walk-forward folds only, and split.folds is not set",
    ),
    "another task": (
        lambda: version(**SHORT),
        lambda: version(task="binary", algorithm={"name": "logistic_regression"}, gate={"metric": "auc"}),
        "the champion's task is binary, the challenger's regression",
    ),
    "a column that is gone": (
        lambda: version(**SHORT),
        lambda: version(examples={**WIDER, "numeric": ["z"]}),
        "the examples of delay do not fit its spec: z is missing (there are: at, id, late, x, y); fix the source or the spec",
    ),
    "SQL that fails": (
        lambda: version(**SHORT),
        lambda: version(sql="SELECT id, at, x / 0 AS x, late FROM flights"),
        "data and query do not fit together: [DIVIDE_BY_ZERO] Division by zero.",
    ),
    "SQL that loses rows": (
        lambda: version(**SHORT),
        lambda: version(sql="SELECT * FROM flights WHERE y > 0"),
        "of the 96 holdout rows; at least 90% are needed",
    ),
}


@pytest.mark.parametrize("case", WHY)
def test_what_stands_in_the_way_is_told(case: str, snapshot: Snapshot) -> None:
    challenger, champion, why = WHY[case]

    change = compare_recipes(run_of(challenger().spec), snapshot, challenger(), champion())

    assert change.result is None
    assert why in change.why


def test_the_parts_that_were_changed_are_named() -> None:
    trees = version("SELECT 1", algorithm={"name": "gbt_regressor"}, features={"impute": "mean"}, examples=WIDER)

    assert changes_of(trees, version()) == ("sql", "columns", "features", "algorithm")
