"""Boosting adds tree after tree, so a shorter fit equals the first trees of a longer one: one fit scores every length."""

from typing import TypeVar

from pyspark import SparkContext
from pyspark.ml.classification import GBTClassificationModel
from pyspark.ml.regression import GBTRegressionModel

from contract.algorithms import AlgorithmName

LENGTH = "maxIter"
Boosted = TypeVar("Boosted", GBTClassificationModel, GBTRegressionModel)


def is_boosted(name: AlgorithmName) -> bool:
    return name.startswith("gbt_")


def first_trees(model: Boosted, count: int) -> Boosted:
    """The model of the first `count` trees. PySpark has no constructor for it, so the JVM's is called."""
    ml = SparkContext._active_spark_context._jvm.org.apache.spark.ml
    java = model._java_obj
    parts = (java.uid(), java.trees()[:count], java.treeWeights()[:count], java.numFeatures())
    if isinstance(model, GBTClassificationModel):
        shorter = ml.classification.GBTClassificationModel(*parts, java.numClasses())
    else:
        shorter = ml.regression.GBTRegressionModel(*parts)
    shorter.set(shorter.featuresCol(), model.getFeaturesCol())
    return type(model)(shorter)
