"""Metrics of scored rows as one number each, for the search and the record; the gate's own come with intervals from compare."""

from collections.abc import Sequence
from math import isfinite

from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from contract.metrics import MetricName
from contract.spec import ModelSpec
from spark_jobs.answers import answer
from spark_jobs.labels import Labels
from spark_jobs.measures import measures_of
from spark_jobs.metrics import reduce_by_blocks


def scores(scored: DataFrame, spec: ModelSpec, labels: Labels | None, names: Sequence[MetricName]) -> dict[MetricName, float]:
    """Those of the metrics that are defined on these rows; the label is a number, as with_label_index leaves it."""
    places = None if labels is None else [*range(len(labels))]
    centre = 0.0 if labels else scored.agg(F.mean(spec.examples.label)).first()[0] or 0.0
    probability = None if labels is None else vector_to_array("probability")
    judged = answer(spec.task, F.col(spec.examples.label), places, probability, F.col("prediction"), centre)
    rows = scored.select(F.lit(0).alias("block"), judged.alias("challenger"))
    statistics = reduce_by_blocks(rows, ["block"], measures_of(names, spec.task, spec.gate, places))["block"]
    found = {name: statistics.value["challenger", name](statistics.of["challenger", name].sum(axis=0)) for name in names}
    return {name: value for name, value in found.items() if isfinite(value)}
