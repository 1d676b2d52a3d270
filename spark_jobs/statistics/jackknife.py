"""Confidence intervals of a metric or an improvement from delete-one-block jackknife values. Pure numpy.

Blocks in time order may depend on their neighbours: their variance is the equal-weighted-cosine long-run variance
(Lazarus, Lewis, Stock and Watson 2018). Blocks without order are independent clusters.
"""

from collections.abc import Callable, Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from scipy import stats

from contract.comparison import Interval

FEWEST_BLOCKS = 7
ROUNDING = 1e-9  # a spread this small relative to the metric is rounding error


class Jackknife(NamedTuple):
    """A value on all rows, and again without each block in turn (in block order); `scale` is the size of the metric itself."""

    value: float
    without: np.ndarray
    scale: float


def jackknife(statistics: np.ndarray, value: Callable[[np.ndarray], float]) -> Jackknife:
    """`statistics`: one row of additive sufficient statistics per block; `value` turns their sum into the metric."""
    total = statistics.sum(axis=0)
    whole = value(total)
    return Jackknife(whole, np.array([value(total - block) for block in statistics]), abs(whole))


def improvement(challenger: Jackknife, reference: Jackknife, lower_is_better: bool) -> Jackknife:
    """Positive where the challenger is better. Both must come from the same rows in the same blocks."""
    sign = -1.0 if lower_is_better else 1.0
    return Jackknife(
        sign * (challenger.value - reference.value),
        sign * (challenger.without - reference.without),
        max(challenger.scale, reference.scale),
    )


class Grouping(NamedTuple):
    """One way to put the rows into blocks: how many each has, and whether the blocks follow each other in time."""

    rows: np.ndarray
    in_time_order: bool


class Blocked(NamedTuple):
    """A metric, or an improvement of one, under one grouping."""

    estimate: Jackknife
    grouping: Grouping


def interval(estimates: Sequence[Blocked], level: float) -> Interval:
    """The two-sided interval, each side wrong with probability `level`; bounds None, with the reason, where it is unreliable.

    `estimates` is one grouping; or two and the third of both together, for rows that depend on each other in two ways: their
    variances are then added and the third's subtracted (Cameron, Gelbach and Miller 2011), but never to less than either alone.
    """
    first = estimates[0]
    value = float(first.estimate.value)
    blocks = min(len(blocked.grouping.rows) for blocked in estimates[:2])
    why = next((reason for blocked in estimates[:2] if (reason := _reason_untrusted(blocked))), "")
    if why:
        defined = value if np.isfinite(value) else None
        return Interval(value=defined, low=None, high=None, blocks=blocks, level=level, why=why)
    errors = [_error(blocked) for blocked in estimates]
    variances = [standard_error**2 for standard_error, _ in errors]
    variance = variances[0] if len(estimates) == 1 else max(*variances[:2], variances[0] + variances[1] - variances[2])
    standard_error, degrees_of_freedom = sqrt(variance), min(degrees_of_freedom for _, degrees_of_freedom in errors[:2])
    unbounded = Interval(
        value=value,
        low=None,
        high=None,
        blocks=blocks,
        level=level,
        standard_error=standard_error,
        degrees_of_freedom=degrees_of_freedom,
        lag1=_lag1(first),
        skewness=_skewness(influence(first.estimate)),
    )
    if standard_error <= ROUNDING * first.estimate.scale:
        return unbounded.model_copy(update={"why": "its variance is zero"})
    half = float(stats.t.ppf(1 - level, degrees_of_freedom) * standard_error)
    return unbounded.model_copy(update={"low": value - half, "high": value + half})


def worse_than(bound: float, result: Interval) -> float | None:
    """One-sided p-value of the hypothesis that the true value is `bound` or more; None where the interval has no bounds."""
    if result.low is None or result.value is None or result.standard_error is None or result.degrees_of_freedom is None:
        return None
    return float(stats.t.cdf((result.value - bound) / result.standard_error, result.degrees_of_freedom))


def influence(estimate: Jackknife) -> np.ndarray:
    """Each block's influence on the value; for a mean about its deviation times its share of the rows times the block count."""
    return (len(estimate.without) - 1) * (estimate.value - estimate.without)


def _reason_untrusted(blocked: Blocked) -> str:
    estimate, rows = blocked.estimate, blocked.grouping.rows
    if not np.isfinite(estimate.value):
        return "it is undefined on these rows"
    if len(rows) < FEWEST_BLOCKS:
        return f"there are {len(rows)} blocks and at least {FEWEST_BLOCKS} are needed"
    effective = rows.sum() ** 2 / (rows**2).sum()
    if effective < FEWEST_BLOCKS:
        return f"{len(rows)} blocks of such unequal size count as {effective:.1f} and at least {FEWEST_BLOCKS} are needed"
    if not np.isfinite(estimate.without).all():
        return "it is undefined without one of the blocks"
    if np.sqrt((influence(estimate) ** 2).mean()) <= ROUNDING * estimate.scale:
        return "it does not vary between blocks"
    return ""


def _error(blocked: Blocked) -> tuple[float, int]:
    """Standard error and degrees of freedom."""
    moved = influence(blocked.estimate)
    return _cosine_error(moved) if blocked.grouping.in_time_order else _cluster_error(moved)


def _cluster_error(influence: np.ndarray) -> tuple[float, int]:
    """Jackknife standard error around the whole value, with its degrees of freedom."""
    blocks = len(influence)
    return float(np.sqrt((influence**2).sum() / (blocks * (blocks - 1)))), blocks - 1


def _cosine_error(influence: np.ndarray) -> tuple[float, int]:
    """Standard error from the series' first ν cosine transforms (its low frequencies), with ν degrees of freedom."""
    blocks = len(influence)
    count = int(1.6 * np.sqrt(blocks))
    waves = np.cos(np.pi * np.outer(np.arange(1, count + 1), np.arange(blocks) + 0.5) / blocks)
    long_run = (2 / blocks * (waves @ influence) ** 2).mean()
    return float(np.sqrt(long_run / blocks)), count


def _lag1(blocked: Blocked) -> float | None:
    """Autocorrelation of the blocks' influences at lag 1; None without time order."""
    if not blocked.grouping.in_time_order:
        return None
    around = influence(blocked.estimate)
    around = around - around.mean()
    return float(around[1:] @ around[:-1] / (around @ around))


def _skewness(values: np.ndarray) -> float:
    """By the formula: scipy's own takes longer than the interval."""
    around = values - values.mean()
    return float((around**3).mean() / (around**2).mean() ** 1.5)
