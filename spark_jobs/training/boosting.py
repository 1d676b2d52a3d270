"""Boosting adds tree after tree, so a shorter fit equals the first trees of a longer one: one fit scores every length."""

from typing import Any

from pyspark.ml.classification import GBTClassificationModel
from pyspark.ml.regression import GBTRegressionModel

from spark_jobs.runtime.spark_api import jvm
from spark_jobs.training.xgboost_models import XGBoostModel, first_rounds

SparkBoosted = GBTClassificationModel | GBTRegressionModel
Boosted = SparkBoosted | XGBoostModel


def first_trees(model: Boosted, count: int) -> Boosted:
    """The model of the first `count` trees, of each class where there are more than two."""
    return _first_trees(model, count) if isinstance(model, SparkBoosted) else first_rounds(model, count)


def _first_trees(model: SparkBoosted, count: int) -> SparkBoosted:
    """PySpark has no constructor for it, so the JVM's is called."""
    ml = jvm().org.apache.spark.ml
    java: Any = model._java_obj
    parts = (java.uid(), java.trees()[:count], java.treeWeights()[:count], java.numFeatures())
    if isinstance(model, GBTClassificationModel):
        shorter = ml.classification.GBTClassificationModel(*parts, java.numClasses())
    else:
        shorter = ml.regression.GBTRegressionModel(*parts)
    shorter.set(shorter.featuresCol(), model.getFeaturesCol())
    return type(model)(shorter)
