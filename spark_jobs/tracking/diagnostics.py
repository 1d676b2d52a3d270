"""Diagnostic tables of a model on the holdout, aggregated in Spark: no row leaves the cluster."""

from typing import Any

from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from contract.spec import ModelSpec
from spark_jobs.data.labels import Labels
from spark_jobs.runtime.spark_api import first_row

Table = list[dict[str, Any]]
BINS = 10
RESIDUAL_BINS = 20


def tables_of(scored: DataFrame, spec: ModelSpec, labels: Labels | None) -> dict[str, Table]:
    """`scored` holds the label as a number, `prediction` and, for classes, `probability`."""
    label = spec.examples.label
    if labels is None:
        return {"residuals": residuals(scored, label), "predicted_actual": predicted_actual(scored, label)}
    return {"confusion": confusion(scored, label, labels), "calibration": calibration(scored, label, spec.task == "binary")}


def importance(shares: dict[str, float]) -> dict[str, Table]:
    """No table for a model without trees."""
    return {"importance": [{"feature": name, "share": share} for name, share in shares.items()]} if shares else {}


def confusion(scored: DataFrame, label: str, labels: Labels) -> Table:
    counted = scored.groupBy(label, "prediction").count().collect()
    rows = {(int(row[0]), int(row[1])): row[2] for row in counted}
    indices = range(len(labels))
    return [{"label": labels[i], "prediction": labels[j], "rows": rows.get((i, j), 0)} for i in indices for j in indices]


def calibration(scored: DataFrame, label: str, binary: bool) -> Table:
    """Reliability diagram: mean predicted probability and observed frequency by bin of the predicted probability.

    Binary: of class 1. Several classes: of the predicted class.
    """
    probabilities = vector_to_array(F.col("probability"))
    predicted = F.get(probabilities, F.lit(1)) if binary else F.array_max(probabilities)
    observed = F.col(label) if binary else (F.col("prediction") == F.col(label)).cast("double")
    bin_of = F.least(F.floor(predicted * BINS), F.lit(BINS - 1))
    return _grouped(scored, bin_of, predicted=F.avg(predicted), observed=F.avg(observed))


def residuals(scored: DataFrame, label: str) -> Table:
    """Histogram of predicted − actual between its 1st and 99th percentile; the outer bins include what lies beyond."""
    residual = F.col("prediction") - F.col(label)
    low, high = first_row(scored.agg(F.percentile_approx(residual, [0.01, 0.99])))[0]
    width = (high - low) / RESIDUAL_BINS or 1.0
    bin_index = F.least(F.greatest(F.floor((residual - low) / width), F.lit(0)), F.lit(RESIDUAL_BINS - 1))
    counted = {row[0]: row[1] for row in scored.groupBy(bin_index).count().collect()}
    return [
        {"low": low + bin_index * width, "high": low + (bin_index + 1) * width, "rows": counted.get(bin_index, 0)}
        for bin_index in range(RESIDUAL_BINS)
    ]


def predicted_actual(scored: DataFrame, label: str) -> Table:
    """Mean predicted and mean actual value by decile of the prediction."""
    shares = [step / BINS for step in range(1, BINS)]
    edges = first_row(scored.agg(F.percentile_approx("prediction", shares)))[0]
    tenth = sum(((F.col("prediction") > edge).cast("int") for edge in edges), F.lit(0))
    return _grouped(scored, tenth, predicted=F.avg("prediction"), actual=F.avg(label))


def _grouped(scored: DataFrame, by: Column, **columns: Column) -> Table:
    named = [column.alias(name) for name, column in columns.items()]
    grouped = scored.groupBy(by.alias("bin")).agg(*named, F.count("*").alias("rows")).orderBy("bin").drop("bin")
    return [row.asDict() for row in grouped.collect()]
