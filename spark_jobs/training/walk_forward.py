"""Walk-forward folds: consecutive spans of time, each validated by a model fitted to the rows before it.

They choose parameters and show how good the recipe is over time. Promotion is decided on newer rows, the holdout, alone.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any, NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from contract.comparison import Interval
from contract.documents import FittedIn
from contract.metrics import MetricName
from contract.spec import ModelSpec
from spark_jobs.data.dataset import ValidationSplit, split_by_time, time_split_of
from spark_jobs.data.labels import Labels
from spark_jobs.runtime.spark_api import first_row
from spark_jobs.statistics.block_statistics import flat, reduce_by_blocks
from spark_jobs.statistics.blocks import BY_TIME, time_block
from spark_jobs.statistics.intervals import side_of
from spark_jobs.statistics.metrics import measures_of
from spark_jobs.statistics.point_metrics import indexed_answer, label_indices
from spark_jobs.training.estimators import fit
from spark_jobs.training.matrix import gathered

TICK = timedelta(microseconds=1)  # Spark's time resolution


class Folds(NamedTuple):
    """How a spec's folds are made: the time column, the length of a fold, and how many there are."""

    time: str
    span: timedelta
    number: int


def folds_of(spec: ModelSpec) -> Folds:
    timed, number = time_split_of(spec), spec.split.folds
    if timed is None or number is None:
        raise ValueError(f"{spec.name} has no walk-forward folds: they need split.folds and a holdout by time")
    return Folds(timed.time, timed.holdout, number)


def walk_forward(rows: DataFrame, spec: ModelSpec, until: datetime) -> list[ValidationSplit]:
    """The newest first. Each validation span is as long as the holdout; its training rows end the spec's gap before it."""
    time, span, number = folds_of(spec)
    ends = [until - fold * span for fold in range(number)]
    return [split_by_time(rows, time, end, span, spec.split.gap) for end in ends]


def end_of(rows: DataFrame, spec: ModelSpec) -> datetime:
    """One tick after the newest row."""
    newest: datetime = first_row(rows.agg(F.max(folds_of(spec).time)))[0]
    return newest.replace(tzinfo=UTC) + TICK


def fold_block(spec: ModelSpec, until: datetime) -> Column:
    """Time block of a fold's validation row."""
    time, span, number = folds_of(spec)
    return time_block(time, until - number * span, until)


def fold_intervals(
    rows: DataFrame,
    spec: ModelSpec,
    labels: Labels | None,
    params: Mapping[str, Any],
    seed: int,
    where: FittedIn = "executors",
) -> dict[MetricName, Interval]:
    """Intervals of the metrics that guards check over the folds; `rows` as in `search`."""
    names = list(dict.fromkeys(guard.metric for guard in spec.gate.guards if guard.over == "folds"))
    if not names:
        return {}
    until = end_of(rows, spec)
    block = fold_block(spec, until).alias(BY_TIME)
    centre = 0.0 if labels else first_row(rows.agg(F.mean(spec.examples.label)))[0]
    answer = indexed_answer(spec, labels, centre).alias("challenger")
    scored = (_validated(fold, spec, params, seed, where).select(block, answer) for fold in walk_forward(rows, spec, until))
    measures = measures_of(names, spec.task, spec.gate, label_indices(labels))
    answers = flat(reduce(DataFrame.unionByName, scored), BY_TIME).persist()
    statistics = reduce_by_blocks(answers, [BY_TIME], measures)
    answers.unpersist()
    return {name: side_of(statistics, "challenger", name, spec.gate.side) for name in names}


def _validated(fold: ValidationSplit, spec: ModelSpec, params: Mapping[str, Any], seed: int, where: FittedIn) -> DataFrame:
    name, label = spec.algorithm.name, spec.examples.label
    return fit(name, dict(params), gathered(fold.train, label, where), label, seed).transform(fold.validation)
