"""The trivial model that a first challenger must beat, fitted on the training rows."""

from datetime import timedelta
from typing import Any

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from contract.spec import ModelSpec
from spark_jobs.data.labels import labels_in
from spark_jobs.runtime.spark_api import first_row
from spark_jobs.statistics.metrics import DECISIONS, Summed, measures_of
from spark_jobs.statistics.predictions import answer

ACCURACY = 10_000  # of percentile_approx: ranks within 1/10,000
HOUR_S = 3_600
PHASE, SERIES, SEASONAL = "__phase", "__series", "__last_season"


def with_baseline(rows: DataFrame, train: DataFrame, spec: ModelSpec, centre: float) -> DataFrame:
    """`rows` with the baseline's answer in the column `reference`."""
    label = F.col(spec.examples.label)
    if spec.task == "regression":
        rows, predicted = _constant_or_seasonal(rows, train, spec)
        return rows.withColumn("reference", answer(spec.task, label, None, None, predicted, centre))
    counts: dict[Any, int] = {row[0]: row[1] for row in train.groupBy(label).count().collect()}
    labels = labels_in(counts, spec)
    shares = [counts[class_label] / sum(counts.values()) for class_label in labels]
    if spec.task == "binary":
        always = _constant_class(spec, counts)
        shares = shares if always is None else [1 - always, always]
    prior, commonest = F.array(*map(F.lit, shares)), F.lit(float(shares.index(max(shares))))
    return rows.withColumn("reference", answer(spec.task, label, labels, prior, commonest, centre))


def _constant_class(spec: ModelSpec, counts: dict[float, int]) -> float | None:
    """0.0 or 1.0, whichever scores better on the training rows as constant class; None for metrics of probabilities (prior)."""
    metric = spec.gate.metric
    measure = measures_of([metric], spec.task, spec.gate)[metric]
    if metric not in (*DECISIONS, "expected_cost") or not isinstance(measure, Summed):
        return None
    value, sign = measure.value, -1 if metric == "expected_cost" else 1
    negative, positive = counts[0.0], counts[1.0]
    scores = {1.0: value(np.array([negative + positive, positive, negative, 0.0]))}
    scores[0.0] = value(np.array([negative + positive, 0.0, 0.0, positive]))
    return max(scores, key=lambda prediction: -np.inf if np.isnan(scores[prediction]) else sign * scores[prediction])


def _constant_or_seasonal(rows: DataFrame, train: DataFrame, spec: ModelSpec) -> tuple[DataFrame, Column]:
    """`rows` and the baseline's prediction: the constant best for the metric, or the label one season earlier.

    For metrics of returns it is 1.0, buy and hold: the strategy follows the prediction's sign.
    """
    gate, label = spec.gate, F.col(spec.examples.label)
    if gate.metric in ("mean_return", "sharpe"):
        return rows, F.lit(1.0)
    ranks = {"mae": 0.5, "mape": 0.5, "quantile_loss": gate.quantile}
    middle = F.percentile_approx(label, ranks[gate.metric], ACCURACY) if gate.metric in ranks else F.mean(label)
    constant = F.lit(first_row(train.agg(middle))[0])
    if gate.season is None or spec.examples.time is None:
        return rows, constant
    return _with_last_season(rows, train, spec, (spec.examples.time, gate.season)), F.coalesce(F.col(SEASONAL), constant)


def _with_last_season(rows: DataFrame, train: DataFrame, spec: ModelSpec, seasonal: tuple[str, timedelta]) -> DataFrame:
    """Adds the mean label of the same phase (hour) and series in the last season of the training rows; null where there is none.

    `seasonal`: the time column, and the season's length.
    """
    time, season_s, cluster = F.unix_seconds(F.col(seasonal[0])), int(seasonal[1].total_seconds()), spec.gate.cluster
    phase, series = F.floor(F.pmod(time, F.lit(season_s)) / HOUR_S), F.col(cluster) if cluster else F.lit("")
    newest = first_row(train.agg(F.max(time)))[0]
    last = train.where(time > newest - season_s)
    past = last.groupBy(phase.alias(PHASE), series.alias(SERIES)).agg(F.avg(spec.examples.label).alias(SEASONAL))
    same = (phase == F.col(PHASE)) & series.eqNullSafe(F.col(SERIES))
    return rows.join(past, on=same, how="left").drop(PHASE, SERIES)
