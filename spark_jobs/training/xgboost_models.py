"""XGBoost's trees, fitted by the driver's process from a collected matrix or by the executors; both become the same Spark model."""

from collections.abc import Callable
from math import nan
from typing import Any, NamedTuple

import xgboost
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from xgboost.spark import SparkXGBClassifier, SparkXGBClassifierModel, SparkXGBRegressor, SparkXGBRegressorModel

from contract.algorithms import AlgorithmName
from contract.errors import PermanentError
from spark_jobs.training.features import FEATURES
from spark_jobs.training.matrix import Matrix

BINS, TREES = 256, 100  # XGBoost's defaults of max_bin and n_estimators
VALIDATION = "__validation"
XGBoostModel = SparkXGBClassifierModel | SparkXGBRegressorModel
_Parts = tuple[Callable[..., Any], type[XGBoostModel], type[xgboost.XGBModel]]
_PARTS: dict[str, _Parts] = {
    "xgboost_classifier": (SparkXGBClassifier, SparkXGBClassifierModel, xgboost.XGBClassifier),
    "xgboost_regressor": (SparkXGBRegressor, SparkXGBRegressorModel, xgboost.XGBRegressor),
}


class EarlyStopping(NamedTuple):
    """Boosting ends where the loss on `validation`, gathered as the rows to fit are, has not fallen for so many rounds."""

    rounds: int
    validation: DataFrame | Matrix


def fit_in_driver(
    name: AlgorithmName, params: dict[str, Any], rows: Matrix, label: str, seed: int, stop: EarlyStopping | None = None
) -> XGBoostModel:
    """By all cores that the driver has; the trees are the same whatever their number."""
    given = {"objective": "reg:squarederror", **params} if name == "xgboost_regressor" else {**params, **objective_of(rows)}
    trees, cores = given.pop("n_estimators", TREES), driver_cores(SparkSession.active())
    train = xgboost.QuantileDMatrix(rows.features, rows.labels, max_bin=given.get("max_bin", BINS), nthread=cores)
    watched: dict[str, Any] = {}
    if stop and isinstance(stop.validation, Matrix):
        validation = xgboost.QuantileDMatrix(stop.validation.features, stop.validation.labels, ref=train, nthread=cores)
        watched = {"evals": [(validation, "validation")], "early_stopping_rounds": stop.rounds, "verbose_eval": False}
    booster = xgboost.train({**given, "seed": seed, "nthread": cores}, train, trees, **watched)
    return as_spark_model(_estimator(name, params, label, seed), name, booster)


def fit_on_executors(
    name: AlgorithmName, params: dict[str, Any], rows: DataFrame, label: str, seed: int, stop: EarlyStopping | None = None
) -> XGBoostModel:
    """By a barrier job with one thread on each core of the executors."""
    spark, given = rows.sparkSession, dict(params)
    if spark.sparkContext.getConf().get("spark.dynamicAllocation.enabled") == "true":
        raise PermanentError(
            "XGBoost needs a number of executors that stays, and this cluster turns dynamic allocation on by default: "
            "set spark.executor.instances in the model's file"
        )
    if stop and isinstance(stop.validation, DataFrame):
        parts = (part.withColumn(VALIDATION, F.lit(number == 1)) for number, part in enumerate((rows, stop.validation)))
        rows = next(parts).unionByName(next(parts))
        given |= {"validation_indicator_col": VALIDATION, "early_stopping_rounds": stop.rounds, "force_repartition": True}
    model: XGBoostModel = _estimator(name, given, label, seed, num_workers=executor_cores(spark)).fit(rows)
    return model


def as_spark_model(source: Any, name: str, booster: xgboost.Booster) -> XGBoostModel:
    """`source`: the estimator or model whose parameters it gets."""
    _, spark_class, scikit_class = _PARTS[name]
    scikit = scikit_class()
    scikit.load_model(booster.save_raw("json"))
    model: XGBoostModel = source._copyValues(spark_class(scikit))
    return model


def best_length(model: Any) -> int:
    """The number of rounds that early stopping chose; the surplus is still in the model."""
    return int(model.get_booster().best_iteration) + 1


def first_rounds(model: XGBoostModel, count: int) -> XGBoostModel:
    """The model of the first `count` rounds of boosting; of all that it has, where it stopped before."""
    name = "xgboost_classifier" if isinstance(model, SparkXGBClassifierModel) else "xgboost_regressor"
    booster = model.get_booster()
    shorter = booster[: min(count, booster.num_boosted_rounds())]
    shorter.set_attr(best_iteration=None, best_score=None)  # by which XGBoost would choose the trees to answer with
    return as_spark_model(model, name, shorter)


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
    return made(**columns, missing=nan, random_state=seed, num_workers=num_workers, verbose=False, **params)


def objective_of(rows: Matrix) -> dict[str, Any]:
    """As xgboost.spark chooses it; a class without rows keeps its place below the highest."""
    classes = int(rows.labels.max()) + 1
    return {"objective": "binary:logistic"} if classes <= 2 else {"objective": "multi:softprob", "num_class": classes}
