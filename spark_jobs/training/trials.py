"""Fits one plan of a search and scores its candidates on the validation rows."""

import logging
import time
from collections.abc import Iterator, Sequence
from math import inf
from statistics import fmean
from typing import Any, NamedTuple

from pyspark.ml import Model

from contract.algorithms import length_of
from contract.documents import Candidate
from contract.metrics import LOWER_IS_BETTER
from contract.spec import ModelSpec
from spark_jobs.data.labels import Labels
from spark_jobs.statistics.point_metrics import scores
from spark_jobs.training.boosting import Boosted, first_trees
from spark_jobs.training.candidates import FitPlan, search_of
from spark_jobs.training.estimators import describe, fit
from spark_jobs.training.spans import Span
from spark_jobs.training.xgboost_models import best_length

log = logging.getLogger(__name__)


class SpanFit(NamedTuple):
    model: Model
    seconds: float


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
        seconds += time.monotonic() - started
        yield Candidate(params=params, score=score, seconds=seconds, spans=(score,), share=span.share)
        seconds = 0.0


def _mean_over_spans(tries: Sequence[Candidate]) -> Candidate:
    """The mean of one candidate's tries on all spans."""
    spans = tuple(attempt.score for attempt in tries)
    return tries[0].model_copy(update={"score": fmean(spans), "seconds": sum(attempt.seconds for attempt in tries), "spans": spans})


def _by_length(plan: FitPlan, model: Model, length: str | None) -> Iterator[tuple[dict[str, Any], Model]]:
    if length is None or not plan.lengths or not isinstance(model, Boosted):
        yield plan.params, model
        return
    for number in plan.lengths:
        yield {**plan.params, length: number}, first_trees(model, number)
