"""Grid search: scores parameters on rows newer than those they were fitted to."""

import logging
import time
from collections.abc import Iterator, Sequence
from datetime import UTC
from itertools import product
from math import inf, isinf
from multiprocessing.pool import ThreadPool
from statistics import fmean
from typing import Any, NamedTuple

from pyspark.ml import Model
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from contract.algorithms import Search, is_xgboost
from contract.documents import FittedIn
from contract.errors import BadData
from contract.metrics import LOWER_IS_BETTER
from contract.spec import ModelSpec
from spark_jobs.data.dataset import ValidationSplit, split_by_hash, split_by_time
from spark_jobs.data.labels import Labels
from spark_jobs.runtime.spark_api import first_row
from spark_jobs.statistics.point_metrics import scores
from spark_jobs.training.boosting import Boosted, first_trees, length_of
from spark_jobs.training.estimators import describe, fit, with_bins
from spark_jobs.training.matrix import Matrix, gathered
from spark_jobs.training.walk_forward import TICK, end_of, walk_forward
from spark_jobs.training.xgboost_models import EarlyStopping, best_length

log = logging.getLogger(__name__)


class Candidate(NamedTuple):
    """`score` is the mean of `spans`, the scores on each validation span, the newest first."""

    params: dict[str, Any]
    score: float
    seconds: float
    spans: tuple[float, ...]


class Span(NamedTuple):
    """One validation split, its rows to fit gathered once for all candidates; `stop`: where early stopping chooses the length."""

    train: DataFrame | Matrix
    validation: DataFrame
    stop: EarlyStopping | None


class SpanFit(NamedTuple):
    model: Model
    seconds: float


class FitPlan(NamedTuple):
    """One fit. With `lengths` it is boosted to the longest, and each length is a candidate."""

    params: dict[str, Any]
    lengths: tuple[int, ...] = ()


def search(
    rows: DataFrame, spec: ModelSpec, labels: Labels | None, levels: int, seed: int, where: FittedIn = "executors"
) -> tuple[Candidate, ...]:
    """Every candidate of the grid, best first. `rows` have id, time, label index and features, and should be cached."""
    spans = [span_of(split, spec, where) for split in validation_spans(rows, spec)]
    plans = plans_of(spec, levels)

    def run(plan: FitPlan) -> list[Candidate]:
        return candidates_of(plan, spans, spec, labels, seed)

    at_once = 1 if is_xgboost(spec.algorithm.name) else rows.sparkSession.sparkContext.defaultParallelism  # its fit takes all cores
    with ThreadPool(min(len(plans), at_once)) as pool:
        by_plan = pool.map(run, plans, chunksize=1)
    direction = 1 if spec.gate.metric in LOWER_IS_BETTER else -1
    best_first = sorted((tried for group in by_plan for tried in group), key=lambda candidate: direction * candidate.score)
    if isinf(best_first[0].score):
        problem = "is undefined on the search's validation rows: do they hold one class? Raise validation_share"
        raise BadData(f"{spec.gate.metric} {problem}")
    return tuple(best_first)


def validation_spans(rows: DataFrame, spec: ModelSpec) -> list[ValidationSplit]:
    """The walk-forward folds, or one validation split. Raises BadData where one has no rows to fit or to validate."""
    spans = walk_forward(rows, spec, end_of(rows, spec)) if spec.split.folds else [validation_split(rows, spec)]
    for span in spans:
        _refuse_empty(span, spec)
    return spans


def span_of(split: ValidationSplit, spec: ModelSpec, where: FittedIn) -> Span:
    train, validation = split
    rounds, label = search_of(spec).early_stopping_rounds, spec.examples.label
    stop = EarlyStopping(rounds, gathered(validation, label, where)) if rounds else None
    return Span(gathered(train, label, where), validation, stop)


def search_of(spec: ModelSpec) -> Search:
    if spec.algorithm.search is None:
        raise ValueError(f"{spec.name} has no algorithm.search")
    return spec.algorithm.search


def plans_of(spec: ModelSpec, levels: int) -> list[FitPlan]:
    """The grid's combinations; those that differ only in the length of boosting share one fit."""
    name, fixed = spec.algorithm.name, spec.algorithm.params
    grid = dict(search_of(spec).grid)
    length = length_of(name)
    lengths = tuple(sorted({int(number) for number in grid.pop(length)})) if length in grid else ()
    longest = {length: lengths[-1]} if length and lengths else {}
    combined = [{**fixed, **dict(zip(grid, values, strict=True)), **longest} for values in product(*grid.values())]
    return [FitPlan(with_bins(name, params, levels), lengths) for params in combined]


def candidates_of(plan: FitPlan, spans: Sequence[Span], spec: ModelSpec, labels: Labels | None, seed: int) -> list[Candidate]:
    fits = [fit_on(span, plan, spec, seed) for span in spans]
    if search_of(spec).early_stopping_rounds:
        plan = plan._replace(lengths=(round(fmean(best_length(fitted.model) for fitted in fits)),))
    by_span = (list(tries_of(plan, fitted, span, spec, labels)) for fitted, span in zip(fits, spans, strict=True))
    candidates = [_mean_over_spans(tries) for tries in zip(*by_span, strict=True)]
    for candidate in candidates:
        log.info(f"train: {describe(candidate.params)}: {spec.gate.metric} {candidate.score:.5f} ({candidate.seconds:.1f} s)")
    return candidates


def fit_on(span: Span, plan: FitPlan, spec: ModelSpec, seed: int) -> SpanFit:
    started = time.monotonic()
    model = fit(spec.algorithm.name, plan.params, span.train, spec.examples.label, seed, span.stop)
    return SpanFit(model, time.monotonic() - started)


def tries_of(plan: FitPlan, fitted: SpanFit, span: Span, spec: ModelSpec, labels: Labels | None) -> Iterator[Candidate]:
    """The plan's candidates on one span. `seconds`: fit and scoring; of a shared fit only the first candidate has the fit."""
    seconds, metric = fitted.seconds, spec.gate.metric
    for params, model in _by_length(plan, fitted.model, length_of(spec.algorithm.name)):
        started = time.monotonic()
        values = scores(model.transform(span.validation), spec, labels, [metric])
        score = values.get(metric, inf if metric in LOWER_IS_BETTER else -inf)  # undefined is worst (no positive prediction)
        yield Candidate(params, score, seconds + time.monotonic() - started, (score,))
        seconds = 0.0


def _mean_over_spans(tries: Sequence[Candidate]) -> Candidate:
    """The mean of one candidate's tries on all spans."""
    spans = tuple(attempt.score for attempt in tries)
    return Candidate(tries[0].params, fmean(spans), sum(attempt.seconds for attempt in tries), spans)


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


def _by_length(plan: FitPlan, model: Model, length: str | None) -> Iterator[tuple[dict[str, Any], Model]]:
    if length is None or not plan.lengths or not isinstance(model, Boosted):
        yield plan.params, model
        return
    for number in plan.lengths:
        yield {**plan.params, length: number}, first_trees(model, number)


def _refuse_empty(halves: ValidationSplit, spec: ModelSpec) -> None:
    for name, half in zip(("to fit", "to validate"), halves, strict=True):
        if half.isEmpty():
            raise BadData(
                f"the search of {spec.name} has no rows {name}: widen the sources' window or change validation_share or gap"
            )
