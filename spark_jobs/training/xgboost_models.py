"""XGBoost's trees, fitted by the driver's process from a collected matrix or by the executors; both become the same Spark model."""

from collections.abc import Callable
from math import nan
from typing import Any

import xgboost
from pyspark.sql import DataFrame, SparkSession
from xgboost.spark import SparkXGBClassifier, SparkXGBClassifierModel, SparkXGBRegressor, SparkXGBRegressorModel

from contract.algorithms import AlgorithmName
from spark_jobs.training.features import FEATURES
from spark_jobs.training.matrix import Matrix

BINS = 256  # XGBoost's default of max_bin
TREES = 100  # and of n_estimators
XGBoostModel = SparkXGBClassifierModel | SparkXGBRegressorModel
_Parts = tuple[Callable[..., Any], type[XGBoostModel], type[xgboost.XGBModel]]
_PARTS: dict[str, _Parts] = {
    "xgboost_classifier": (SparkXGBClassifier, SparkXGBClassifierModel, xgboost.XGBClassifier),
    "xgboost_regressor": (SparkXGBRegressor, SparkXGBRegressorModel, xgboost.XGBRegressor),
}


def fit_in_driver(name: AlgorithmName, params: dict[str, Any], rows: Matrix, label: str, seed: int) -> XGBoostModel:
    """By all cores that the driver has; the trees are the same whatever their number."""
    given = {"objective": "reg:squarederror", **params} if name == "xgboost_regressor" else {**params, **objective_of(rows)}
    trees = given.pop("n_estimators", TREES)
    given |= {"seed": seed, "nthread": driver_cores(SparkSession.active())}
    train = xgboost.QuantileDMatrix(rows.features, rows.labels, max_bin=given.get("max_bin", BINS), nthread=given["nthread"])
    return as_spark_model(_estimator(name, params, label, seed), name, xgboost.train(given, train, trees))


def fit_on_executors(name: AlgorithmName, params: dict[str, Any], rows: DataFrame, label: str, seed: int) -> XGBoostModel:
    """By a barrier job with one thread on each core of the executors."""
    model: XGBoostModel = _estimator(name, params, label, seed, num_workers=executor_cores(rows.sparkSession)).fit(rows)
    return model


def as_spark_model(source: Any, name: str, booster: xgboost.Booster) -> XGBoostModel:
    """`source`: the estimator or model whose parameters it gets."""
    _, spark_class, scikit_class = _PARTS[name]
    scikit = scikit_class()
    scikit.load_model(booster.save_raw("json"))
    model: XGBoostModel = source._copyValues(spark_class(scikit))
    return model


def first_rounds(model: XGBoostModel, count: int) -> XGBoostModel:
    """The model of the first `count` rounds of boosting."""
    name = "xgboost_classifier" if isinstance(model, SparkXGBClassifierModel) else "xgboost_regressor"
    return as_spark_model(model, name, model.get_booster()[:count])


def driver_cores(spark: SparkSession) -> int:
    """What a cluster grants the driver; all of a local master."""
    return _local_cores(spark) or int(spark.sparkContext.getConf().get("spark.driver.cores") or 1)


def executor_cores(spark: SparkSession) -> int:
    """Of all executors by the settings, not by how many are up: a retry must make the same parts."""
    conf = spark.sparkContext.getConf()
    instances, cores = conf.get("spark.executor.instances") or 2, conf.get("spark.executor.cores") or 1  # Spark's defaults
    return _local_cores(spark) or int(instances) * int(cores)


def _local_cores(spark: SparkSession) -> int:
    """0 on a cluster."""
    context = spark.sparkContext
    return context.defaultParallelism if (context.master or "").startswith("local") else 0


def _estimator(name: AlgorithmName, params: dict[str, Any], label: str, seed: int, num_workers: int = 1) -> Any:
    made, _, _ = _PARTS[name]
    columns = {"features_col": FEATURES, "label_col": label}
    return made(**columns, missing=nan, random_state=seed, num_workers=num_workers, **params)


def objective_of(rows: Matrix) -> dict[str, Any]:
    """As xgboost.spark chooses it; a class without rows keeps its place below the highest."""
    classes = int(rows.labels.max()) + 1
    return {"objective": "binary:logistic"} if classes <= 2 else {"objective": "multi:softprob", "num_class": classes}
