"""How sure a metric, or the improvement of one, is: delete-one-block jackknife values to an interval. Pure numpy.

Blocks in time order may depend on their neighbours: their variance is the equal-weighted-cosine long-run variance
(Lazarus, Lewis, Stock and Watson 2018). Blocks without order are independent clusters.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

from contract.documents import Interval

FEWEST_BLOCKS = 7
ROUNDING = 1e-9  # a spread this small beside the metric itself is the noise of summing doubles


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


def improvement(challenger: Jackknife, opponent: Jackknife, lower_is_better: bool) -> Jackknife:
    """Positive where the challenger is better. Both must come from the same rows in the same blocks."""
    sign = -1.0 if lower_is_better else 1.0
    return Jackknife(
        sign * (challenger.value - opponent.value),
        sign * (challenger.without - opponent.without),
        max(challenger.scale, opponent.scale),
    )


def interval(estimate: Jackknife, rows: np.ndarray, *, in_time_order: bool, confidence: float) -> Interval:
    """The two-sided interval; undefined, with the reason, where it could not be trusted. `rows`: how many each block has."""
    blocks = len(rows)
    value = float(estimate.value) if np.isfinite(estimate.value) else None
    influence = (blocks - 1) * (estimate.value - estimate.without)
    why = _untrusted(estimate, rows, influence)
    if why:
        return Interval(value=value, low=None, high=None, blocks=blocks, why=why)
    error, freedom = _cosine_error(influence) if in_time_order else _cluster_error(influence)
    if error <= ROUNDING * estimate.scale:
        return Interval(value=value, low=None, high=None, blocks=blocks, why="its variance is zero")
    half = float(stats.t.ppf((1 + confidence) / 2, freedom) * error)
    return Interval(value=value, low=value - half, high=value + half, blocks=blocks)


def _untrusted(estimate: Jackknife, rows: np.ndarray, influence: np.ndarray) -> str:
    if not np.isfinite(estimate.value):
        return "it is undefined on these rows"
    if len(rows) < FEWEST_BLOCKS:
        return f"there are {len(rows)} blocks and at least {FEWEST_BLOCKS} are needed"
    effective = rows.sum() ** 2 / (rows**2).sum()
    if effective < FEWEST_BLOCKS:
        return f"{len(rows)} blocks of such unequal size count as {effective:.1f} and at least {FEWEST_BLOCKS} are needed"
    if not np.isfinite(estimate.without).all():
        return "it is undefined without one of the blocks"
    if np.sqrt((influence**2).mean()) <= ROUNDING * estimate.scale:
        return "it does not vary between blocks"
    return ""


def _cluster_error(influence: np.ndarray) -> tuple[float, int]:
    """Jackknife standard error around the whole value, with its degrees of freedom."""
    blocks = len(influence)
    return float(np.sqrt((influence**2).sum() / (blocks * (blocks - 1)))), blocks - 1


def _cosine_error(influence: np.ndarray) -> tuple[float, int]:
    """Standard error from the first ν cosine transforms of the series, which only slow movements reach; ν degrees of freedom."""
    blocks = len(influence)
    count = int(1.6 * np.sqrt(blocks))
    waves = np.cos(np.pi * np.outer(np.arange(1, count + 1), np.arange(blocks) + 0.5) / blocks)
    long_run = (2 / blocks * (waves @ influence) ** 2).mean()
    return float(np.sqrt(long_run / blocks)), count
