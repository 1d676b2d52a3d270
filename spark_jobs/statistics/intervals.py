"""Metric results with intervals from the block statistics of both sides. Pure functions."""

from collections.abc import Mapping
from typing import Any

from contract.comparison import Interval, MetricResult, SliceResult
from contract.documents import RunDocument
from contract.gate import Slices
from contract.metrics import LOWER_IS_BETTER, MetricName
from spark_jobs.statistics.block_statistics import SIDES, Statistics
from spark_jobs.statistics.blocks import BY_TIME
from spark_jobs.statistics.jackknife import Blocked, Grouping, Jackknife, improvement, interval, worse_than
from spark_jobs.statistics.metrics import RANKED

FEWEST_OF_A_CLASS = 50
LARGEST_BIN = 1 / 64  # share of the rows: with no fuller bin, an area is exact within 1/128


def results_of(statistics: Mapping[str, Statistics], run: RunDocument) -> tuple[MetricResult, ...]:
    """Every metric that the spec measures, the gate's first. `statistics` by grouping."""
    return tuple(_result(name, statistics, run) for name in run.spec.gate.measured(run.spec.task))


def slice_result(statistics: Mapping[str, Statistics], run: RunDocument, slices: Slices, **identity: Any) -> SliceResult:
    gate = run.spec.gate
    ours, theirs = (_jackknives(statistics, side, gate.metric) for side in SIDES)
    why = _unjudgeable(statistics, gate.metric)
    improvement = _interval(statistics, _improvements(ours, theirs, gate.metric), gate.side, why)
    rows = int(next(iter(statistics.values())).rows.sum())
    return SliceResult(**identity, rows=rows, improvement=improvement, p_worse=worse_than(-slices.margin, improvement))


def _result(name: MetricName, statistics: Mapping[str, Statistics], run: RunDocument) -> MetricResult:
    """The gate metric's improvement has the level of its test; reported metrics and guards have the spec's confidence."""
    gate = run.spec.gate
    return metric_result(name, statistics, gate.side, run.level if name == gate.metric else gate.side)


def metric_result(name: MetricName, statistics: Mapping[str, Statistics], side_level: float, level: float) -> MetricResult:
    """`side_level`: level of each side's own interval; `level`: of the improvement's."""
    ours, theirs = (_jackknives(statistics, side, name) for side in SIDES)
    why = _unjudgeable(statistics, name)
    return MetricResult(
        metric=name,
        challenger=_interval(statistics, ours, side_level, why),
        reference=_interval(statistics, theirs, side_level, why),
        improvement=_interval(statistics, _improvements(ours, theirs, name), level, why),
    )


def side_of(statistics: Mapping[str, Statistics], side: str, name: MetricName, level: float) -> Interval:
    return _interval(statistics, _jackknives(statistics, side, name), level, _unjudgeable(statistics, name))


def _interval(statistics: Mapping[str, Statistics], estimates: Mapping[str, Jackknife], level: float, why: str) -> Interval:
    """`statistics` and `estimates` by grouping; a non-empty `why` replaces the interval's bounds."""
    result = interval(
        [Blocked(estimates[by], Grouping(of_blocks.rows, by == BY_TIME)) for by, of_blocks in statistics.items()], level
    )
    return result.model_copy(update={"low": None, "high": None, "why": why}) if why else result


def _jackknives(statistics: Mapping[str, Statistics], side: str, name: MetricName) -> dict[str, Jackknife]:
    return {by: of_blocks.of[side, name] for by, of_blocks in statistics.items()}


def _improvements(ours: Mapping[str, Jackknife], theirs: Mapping[str, Jackknife], name: MetricName) -> dict[str, Jackknife]:
    return {by: improvement(ours[by], theirs[by], name in LOWER_IS_BETTER) for by in ours}


def _unjudgeable(statistics: Mapping[str, Statistics], name: MetricName) -> str:
    first = next(iter(statistics.values()))
    return _too_few_of_a_class(first, name) or (_too_coarse(first, name) if name in RANKED else "")


def _too_few_of_a_class(statistics: Statistics, name: MetricName) -> str:
    """Why there are too few rows of a class for an interval; else empty. In macro_f1 a rare class weighs as much as any."""
    fewest = FEWEST_OF_A_CLASS
    if statistics.positives is not None:
        fewest = min(statistics.positives, int(statistics.rows.sum()) - statistics.positives)
    elif name == "macro_f1" and statistics.rarest is not None:
        fewest = statistics.rarest
    return f"a class has {fewest} rows and at least {FEWEST_OF_A_CLASS} are needed" if fewest < FEWEST_OF_A_CLASS else ""


def _too_coarse(statistics: Statistics, name: MetricName) -> str:
    """Why the bins are too coarse for a slice, as they are quantiles of all rows' scores; else empty."""
    share = max(share for (_, metric), share in statistics.coarse.items() if metric == name)
    return f"{share:.0%} of its scores are too close together to be ranked here" if share > LARGEST_BIN else ""
