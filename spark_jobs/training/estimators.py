"""Fits the algorithms that a spec may name: Spark's own estimators, or XGBoost."""

import re
from collections.abc import Callable
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import IllegalArgumentException
from pyspark.ml import Estimator, Model
from pyspark.ml.classification import DecisionTreeClassifier, GBTClassifier, LogisticRegression, RandomForestClassifier
from pyspark.ml.regression import DecisionTreeRegressor, GBTRegressor, LinearRegression, RandomForestRegressor
from pyspark.sql import DataFrame
from xgboost.core import XGBoostError

from contract.algorithms import PARAMS, AlgorithmName, is_xgboost
from contract.errors import BadData
from spark_jobs.training.features import FEATURES
from spark_jobs.training.matrix import Matrix
from spark_jobs.training.xgboost_models import EarlyStopping, fit_in_driver, fit_on_executors

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
OF_AN_EXECUTOR = re.compile(r"XGBoostError: (.+)")


def fit(
    name: AlgorithmName,
    params: dict[str, Any],
    rows: DataFrame | Matrix,
    label: str,
    seed: int,
    stop: EarlyStopping | None = None,
) -> Model:
    """The algorithm fitted to `rows` with features and label; BadData where Spark or XGBoost refuses a parameter's value."""
    try:
        if isinstance(rows, Matrix):
            return fit_in_driver(name, params, rows, label, seed, stop)
        if is_xgboost(name):
            return fit_on_executors(name, params, rows, label, seed, stop)
        fitted: Model = estimator(name, params, label, seed).fit(rows)
    except (IllegalArgumentException, XGBoostError, Py4JJavaError) as error:
        refusal = refusal_in(error)
        if refusal is None:
            raise
        raise BadData(f"{name} cannot be fitted with {describe(params)}: {refusal}; correct algorithm in the spec") from error
    return fitted


def refusal_in(error: Exception) -> str | None:
    """The sentence with which Spark or XGBoost refuses a value; None for another error of a job."""
    if isinstance(error, Py4JJavaError):
        refusal = OF_AN_EXECUTOR.search(str(error))
        return refusal[1] if refusal else None
    return str(error).splitlines()[0]


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
    return " ".join(f"{name}={value}" for name, value in params.items()) or "the defaults"
