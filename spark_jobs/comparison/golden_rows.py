"""Golden rows: holdout rows with Spark's predictions, which every image must reproduce before it gets traffic."""

from functools import reduce
from math import inf
from operator import and_, or_

from pyspark.ml import PipelineModel
from pyspark.ml.feature import StringIndexerModel
from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from contract.algorithms import parity_tolerance
from contract.documents import GoldenRows
from contract.spec import ModelSpec
from spark_jobs.runtime.spark_api import first_row

ROWS = 50
ODD_ROWS = 5  # of each kind: with a null, with an unseen category
BINS = ROWS - 2 * ODD_ROWS


def choose_golden_rows(scored: DataFrame, spec: ModelSpec, pipeline: PipelineModel) -> GoldenRows:
    """Up to 50 rows: a few with nulls, a few with unseen categories, the others spread over the range of predictions."""
    rows = _candidates(scored, spec, pipeline)
    odd = [row for kind in ("has_null", "unseen") for row in _first(rows.where(kind), ODD_ROWS)]
    chosen = {row.row_hash: row for row in [*odd, *_spread(rows), *_first(rows, ROWS)]}
    kept = list(chosen.values())[:ROWS]
    return GoldenRows(
        columns=(*spec.examples.numeric, *spec.examples.categorical),
        rows=tuple(tuple(row.row) for row in kept),
        expected=tuple(tuple(row.expected) for row in kept),
        tolerance=parity_tolerance(spec.algorithm.name),
    )


def _candidates(scored: DataFrame, spec: ModelSpec, pipeline: PipelineModel) -> DataFrame:
    """`row_hash` fixes the order for retries; `score`: the predicted number, or the probability of the positive or best class."""
    columns = (*spec.examples.numeric, *spec.examples.categorical)
    expected = F.array("prediction") if spec.task == "regression" else vector_to_array(F.col("probability"))
    score = F.get(expected, F.lit(1)) if spec.task == "binary" else F.array_max(expected)
    finite = [F.coalesce(F.abs(name) < inf, F.lit(True)) for name in spec.examples.numeric]  # JSON has no infinity
    return scored.where(reduce(and_, finite, F.lit(True))).select(
        F.xxhash64(spec.examples.id).alias("row_hash"),
        F.struct(*columns).alias("row"),
        expected.alias("expected"),
        score.alias("score"),
        reduce(or_, [F.isnull(name) for name in columns]).alias("has_null"),
        _unseen(pipeline).alias("unseen"),
    )


def _unseen(pipeline: PipelineModel) -> Column:
    """True where any category of the row is unknown to the fitted StringIndexer."""
    indexers = [stage for stage in pipeline.stages if isinstance(stage, StringIndexerModel)]
    known = [pair for stage in indexers for pair in zip(stage.getInputCols(), stage.labelsArray, strict=True)]
    return reduce(or_, [F.coalesce(~F.col(name).isin(list(labels)), F.lit(False)) for name, labels in known], F.lit(False))


def _first(rows: DataFrame, count: int) -> list[Row]:
    return rows.orderBy("row_hash").limit(count).collect()


def _spread(rows: DataFrame) -> list[Row]:
    """One row from each of BINS equal parts of the score's range, where the part has any."""
    low, high = first_row(rows.agg(F.min("score"), F.max("score")))
    part = F.least(F.floor((F.col("score") - low) / ((high - low) or 1.0) * BINS), F.lit(BINS - 1))
    picked = rows.groupBy(part.alias("part")).agg(F.min_by(F.struct(*rows.columns), "row_hash").alias("picked"))
    return picked.orderBy("part").select("picked.*").collect()
