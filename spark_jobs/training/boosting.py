"""Boosting adds tree after tree, so a shorter fit equals the first trees of a longer one: one fit scores every length."""

from typing import Any

from pyspark.ml.classification import GBTClassificationModel
from pyspark.ml.regression import GBTRegressionModel

from contract.algorithms import AlgorithmName
from spark_jobs.runtime.spark_api import jvm

LENGTH = "maxIter"
Boosted = GBTClassificationModel | GBTRegressionModel


def is_boosted(name: AlgorithmName) -> bool:
    return name.startswith("gbt_")


def first_trees(model: Boosted, count: int) -> Boosted:
    """The model of the first `count` trees. PySpark has no constructor for it, so the JVM's is called."""
    ml = jvm().org.apache.spark.ml
    java: Any = model._java_obj
    parts = (java.uid(), java.trees()[:count], java.treeWeights()[:count], java.numFeatures())
    if isinstance(model, GBTClassificationModel):
        shorter = ml.classification.GBTClassificationModel(*parts, java.numClasses())
    else:
        shorter = ml.regression.GBTRegressionModel(*parts)
    shorter.set(shorter.featuresCol(), model.getFeaturesCol())
    return type(model)(shorter)
