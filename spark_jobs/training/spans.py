"""The rows on which a search fits its candidates and those on which it scores them."""

from datetime import UTC
from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from contract.documents import FittedIn
from contract.errors import BadData
from contract.spec import ModelSpec
from spark_jobs.data.dataset import ValidationSplit, split_by_hash, split_by_time
from spark_jobs.runtime.spark_api import first_row
from spark_jobs.training.candidates import search_of
from spark_jobs.training.matrix import Matrix, gathered
from spark_jobs.training.walk_forward import TICK, end_of, walk_forward
from spark_jobs.training.xgboost_models import EarlyStopping


class Span(NamedTuple):
    """One validation split, its rows to fit gathered once for all candidates: the newest `share` of them.

    `stop`: where early stopping chooses the length.
    """

    train: DataFrame | Matrix
    validation: DataFrame
    stop: EarlyStopping | None
    share: float


def validation_spans(rows: DataFrame, spec: ModelSpec) -> list[ValidationSplit]:
    """The walk-forward folds, or one validation split. Raises BadData where one has no rows to fit or to validate."""
    spans = walk_forward(rows, spec, end_of(rows, spec)) if spec.split.folds else [validation_split(rows, spec)]
    for span in spans:
        _refuse_empty(span, spec)
    return spans


def validation_split(rows: DataFrame, spec: ModelSpec) -> ValidationSplit:
    """The newest share of the rows by time, after the spec's gap; without time, a share by another hash than the holdout's."""
    share = search_of(spec).validation_share
    if spec.examples.time is None:
        return split_by_hash(rows, spec.examples.id, f"{spec.name} search", share)
    when = F.col(spec.examples.time)
    moments = first_row(rows.agg(F.percentile_approx(when, 1 - share), F.max(when)))
    first, newest = (moment.replace(tzinfo=UTC) for moment in moments)
    until = newest + TICK
    return split_by_time(rows, spec.examples.time, until, until - first, spec.split.gap)


def span_of(split: ValidationSplit, spec: ModelSpec, where: FittedIn, share: float) -> Span:
    rounds, label = search_of(spec).early_stopping_rounds, spec.examples.label
    stop = EarlyStopping(rounds, gathered(split.validation, label, where)) if rounds else None
    return Span(gathered(newest(split.train, spec, share), label, where), split.validation, stop, share)


def newest(rows: DataFrame, spec: ModelSpec, share: float) -> DataFrame:
    """Without time a share by hash, of which a smaller one is a part."""
    if share == 1:
        return rows
    if spec.examples.time is None:
        return split_by_hash(rows, spec.examples.id, f"{spec.name} halving", share).validation
    when = F.col(spec.examples.time)
    (first,) = first_row(rows.agg(F.percentile_approx(when, 1 - share)))
    return rows.where(when >= F.lit(first.replace(tzinfo=UTC)))


def _refuse_empty(halves: ValidationSplit, spec: ModelSpec) -> None:
    for name, half in zip(("to fit", "to validate"), halves, strict=True):
        if half.isEmpty():
            raise BadData(
                f"the search of {spec.name} has no rows {name}: widen the sources' window or change validation_share or gap"
            )
