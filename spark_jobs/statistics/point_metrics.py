"""Point estimates of metrics for the search and for MLflow; the gate's metrics, with intervals, are computed in compare."""

from collections.abc import Sequence
from math import isfinite

from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from contract.metrics import MetricName
from contract.spec import ModelSpec
from spark_jobs.data.labels import Labels
from spark_jobs.runtime.spark_api import first_row
from spark_jobs.statistics.block_statistics import flat, reduce_by_blocks
from spark_jobs.statistics.metrics import measures_of
from spark_jobs.statistics.predictions import answer


def scores(scored: DataFrame, spec: ModelSpec, labels: Labels | None, names: Sequence[MetricName]) -> dict[MetricName, float]:
    """The metrics that are defined on these rows. The label is an index or a number, as from with_label_index."""
    indices = label_indices(labels)
    centre = 0.0 if labels else first_row(scored.agg(F.mean(spec.examples.label)))[0] or 0.0
    rows = scored.select(F.lit(0).alias("block"), indexed_answer(spec, labels, centre).alias("challenger"))
    statistics = reduce_by_blocks(flat(rows, "block"), ["block"], measures_of(names, spec.task, spec.gate, indices))["block"]
    values = {name: statistics.of["challenger", name].value for name in names}
    return {name: value for name, value in values.items() if isfinite(value)}


def indexed_answer(spec: ModelSpec, labels: Labels | None, centre: float) -> Column:
    """The answer on rows whose label is its index among the labels, as from with_label_index."""
    probability = None if labels is None else vector_to_array(F.col("probability"))
    return answer(spec.task, F.col(spec.examples.label), label_indices(labels), probability, F.col("prediction"), centre)


def label_indices(labels: Labels | None) -> list[int] | None:
    return None if labels is None else [*range(len(labels))]
