"""The gate's metric by slice: one slice per frequent value of a column, rarer values pooled."""

from collections.abc import Sequence
from typing import NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from contract.comparison import SliceResult
from contract.documents import RunDocument
from spark_jobs.data.labels import Labels
from spark_jobs.statistics.block_statistics import reduce_by_slices
from spark_jobs.statistics.intervals import slice_result
from spark_jobs.statistics.metrics import measures_of

MOST_VALUES = 20
OTHERS = -1
BINS = 512  # of all rows' scores; a slice with too many rows in one bin gets no interval (intervals.py)


class Slicing(NamedTuple):
    """`values` with a slice of their own, the most frequent first; `pooled`: how many other values share one slice."""

    values: tuple[str | None, ...]
    pooled: int


def slice_results(rows: DataFrame, groupings: Sequence[str], run: RunDocument, classes: Labels | None) -> tuple[SliceResult, ...]:
    """One column after the other, so that the driver's memory does not grow with their number."""
    gate, slices = run.spec.gate, run.spec.gate.slices
    if slices is None:
        return ()
    measures = measures_of([gate.metric], run.spec.task, gate, classes)
    results = []
    for column in slices.columns:
        slicing = slicing_of(rows, column, slices.min_rows)
        indexed = rows.withColumn("slice", slice_index(column, slicing))
        for index, statistics in sorted(reduce_by_slices(indexed, "slice", groupings, measures, BINS).items()):
            value, pooled = ("", slicing.pooled) if index == OTHERS else (slicing.values[index], 0)
            results.append(slice_result(statistics, run, slices, column=column, value=value, pooled=pooled))
    return tuple(results)


def slicing_of(pairs: DataFrame, column: str, min_rows: int) -> Slicing:
    counted = pairs.groupBy(column).agg(F.count("*").alias("__rows"))
    frequent = counted.where(F.col("__rows") >= min_rows).orderBy(F.desc("__rows"), column).limit(MOST_VALUES).collect()
    return Slicing(tuple(row[column] for row in frequent), counted.count() - len(frequent))


def slice_index(column: str, slicing: Slicing) -> Column:
    """The value's index in `slicing.values`, else OTHERS; null is a value like any other."""
    expression = F.lit(OTHERS)
    for index, value in enumerate(slicing.values):
        expression = F.when(F.col(column).eqNullSafe(F.lit(value)), index).otherwise(expression)
    return expression
