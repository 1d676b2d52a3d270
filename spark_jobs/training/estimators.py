"""Spark estimators of the algorithms that a spec may name."""

from collections.abc import Callable
from typing import Any

from pyspark.errors import IllegalArgumentException
from pyspark.ml import Estimator, Model
from pyspark.ml.classification import DecisionTreeClassifier, GBTClassifier, LogisticRegression, RandomForestClassifier
from pyspark.ml.regression import DecisionTreeRegressor, GBTRegressor, LinearRegression, RandomForestRegressor
from pyspark.sql import DataFrame

from contract.algorithms import PARAMS, AlgorithmName
from contract.errors import BadData
from spark_jobs.training.features import FEATURES

ESTIMATORS: dict[AlgorithmName, Callable[..., Estimator[Any]]] = {
    "logistic_regression": LogisticRegression,
    "linear_regression": LinearRegression,
    "decision_tree_classifier": DecisionTreeClassifier,
    "decision_tree_regressor": DecisionTreeRegressor,
    "random_forest_classifier": RandomForestClassifier,
    "random_forest_regressor": RandomForestRegressor,
    "gbt_classifier": GBTClassifier,
    "gbt_regressor": GBTRegressor,
}
DEFAULT_BINS = 32  # Spark's


def fit(name: AlgorithmName, params: dict[str, Any], rows: DataFrame, label: str, seed: int) -> Model:
    """The algorithm fitted to `rows` with features and label; BadData where Spark refuses a parameter's value."""
    try:
        fitted: Model = estimator(name, params, label, seed).fit(rows)
    except IllegalArgumentException as error:
        refusal = str(error).splitlines()[0]
        raise BadData(f"{name} cannot be fitted with {describe(params)}: {refusal}; correct algorithm in the spec") from error
    return fitted


def estimator(name: AlgorithmName, params: dict[str, Any], label: str, seed: int) -> Estimator[Any]:
    made = ESTIMATORS[name](featuresCol=FEATURES, labelCol=label, **params)
    if made.hasParam("seed"):
        made.set(made.getParam("seed"), seed)
    return made


def with_bins(name: AlgorithmName, params: dict[str, Any], levels: int) -> dict[str, Any]:
    """The parameters with `maxBins` wide enough for the widest categorical column: a tree needs a bin per level."""
    if "maxBins" not in PARAMS[name]:
        return params
    bins = params.get("maxBins", max(levels, DEFAULT_BINS))
    if bins < levels:
        raise BadData(
            f"algorithm: maxBins {bins} is below the {levels} levels of the widest categorical column; "
            f"raise it to at least {levels}, leave it out, or write features.encode: one_hot"
        )
    return {**params, "maxBins": bins}


def describe(params: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in params.items()) or "Spark's defaults"
