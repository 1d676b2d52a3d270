"""Metrics of scored rows as one number each, for the search and the record; the gate's own come with intervals from compare."""

from collections.abc import Sequence
from math import isfinite

import numpy as np
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from contract.algorithms import MetricName
from contract.spec import ModelSpec
from spark_jobs.answers import answer
from spark_jobs.labels import Labels
from spark_jobs.metrics import MEASURES, Summed


def scores(scored: DataFrame, spec: ModelSpec, labels: Labels | None, names: Sequence[MetricName]) -> dict[MetricName, float]:
    """Those of the metrics that are defined on these rows; the label is a number, as with_label_index leaves it."""
    places = None if labels is None else [*range(len(labels))]
    centre = 0.0 if labels else scored.agg(F.mean(spec.examples.label)).first()[0] or 0.0
    probability = None if labels is None else vector_to_array("probability")
    judged = answer(spec.task, F.col(spec.examples.label), places, probability, F.col("prediction"), centre)
    answers = scored.select(judged.alias("model"))
    found = _summed(answers, [name for name in names if isinstance(MEASURES[name], Summed)])
    if "auc" in names:
        found["auc"] = _area(answers)
    return {name: found[name] for name in names if isfinite(found[name])}


def _summed(answers: DataFrame, names: list[MetricName]) -> dict[MetricName, float]:
    if not names:
        return {}
    terms = {name: MEASURES[name].terms(lambda field: F.col(f"model.{field}")) for name in names}
    sums = [F.sum(term) for each in terms.values() for term in each]
    rows, *rest = answers.agg(F.count("*"), *sums).first()
    values, found = iter(rest), {}
    for name, each in terms.items():
        found[name] = MEASURES[name].value(np.array([rows, *(next(values) for _ in each)], dtype=float))
    return found


def _area(answers: DataFrame) -> float:
    """Exact, where the gate's has bins: one version is judged here, with no blocks to add up."""
    pairs = answers.select(F.col("model.score").alias("score"), F.col("model.positive").cast("double").alias("positive"))
    if pairs.select("positive").distinct().count() < 2:
        return float("nan")
    return BinaryClassificationEvaluator(rawPredictionCol="score", labelCol="positive", numBins=0).evaluate(pairs)
