"""Each metric as additive sufficient statistics per block, reduced in Spark, and a pure function from their sum to the value."""

from collections.abc import Callable, Sequence
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import numpy as np
from pyspark import inheritable_thread_target
from pyspark.ml.feature import Bucketizer
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from contract.algorithms import MetricName

SIDES = ("challenger", "opponent")
SMALLEST = 1e-15
# An area under the curve by bins of equal weight w is wrong by at most w/2; a quantile sketch may widen each bin by 2·SKETCH_ERROR.
# So at most (1/8192 + 2/32768)/2 = 0.92e-4. A value so frequent that it fills bins gets a bin of its own.
BINS = 8_192
SKETCH_ERROR = 1 / (4 * BINS)

Field = Callable[[str], Column]


class Summed(NamedTuple):
    """A metric from sums over rows: statistics are the row count, then the sum of each term."""

    terms: Callable[[Field], list[Column]]
    value: Callable[[np.ndarray], float]


class Ranked(NamedTuple):
    """A metric from the order of scores: statistics are a histogram of each class over common bins (2 × bins, flattened)."""

    value: Callable[[np.ndarray], float]


class Statistics(NamedTuple):
    """`rows` per block, in block order; `of[side, metric]`: blocks × statistics."""

    rows: np.ndarray
    of: dict[tuple[str, MetricName], np.ndarray]


def _mean(sums: np.ndarray) -> float:
    return float(sums[1] / sums[0]) if sums[0] else np.nan


def _root_mean(sums: np.ndarray) -> float:
    return float(np.sqrt(_mean(sums)))


def _explained(sums: np.ndarray) -> float:
    """1 − Σerror²/Σ(label − mean)², NaN for a constant label."""
    rows, squares, deviations, deviation_squares = sums
    spread = deviation_squares - deviations**2 / rows if rows else 0.0
    return float(1 - squares / spread) if spread > 1e-12 * deviation_squares else np.nan


def _area(histogram: np.ndarray) -> float:
    """The share of (positive, negative) pairs in the right order, a shared bin counting half. The last bin counts NaN scores."""
    negative, positive = histogram.reshape(2, -1).astype(float)
    pairs = negative.sum() * positive.sum()
    if pairs == 0 or negative[-1] + positive[-1] > 0:
        return np.nan
    below = np.cumsum(negative) - negative / 2
    return float(positive @ below / pairs)


def _surprise(field: Field) -> Column:
    """−ln of the true class's probability. NaN is kept by hand: Spark's least() would turn it into certainty."""
    truth = field("truth")
    clipped = F.greatest(F.lit(SMALLEST), F.least(F.lit(1 - SMALLEST), truth))
    return F.when(F.isnan(truth), truth).otherwise(-F.log(clipped))


MEASURES: dict[MetricName, Summed | Ranked] = {
    "log_loss": Summed(lambda field: [_surprise(field)], _mean),
    "brier": Summed(lambda field: [(1 - field("truth")) ** 2], _mean),
    "accuracy": Summed(lambda field: [field("hit")], _mean),
    "auc": Ranked(_area),
    "rmse": Summed(lambda field: [field("error") ** 2], _root_mean),
    "mae": Summed(lambda field: [F.abs(field("error"))], _mean),
    "r2": Summed(lambda field: [field("error") ** 2, field("deviation"), field("deviation") ** 2], _explained),
}


def reduce_by_block(pairs: DataFrame, names: Sequence[MetricName]) -> Statistics:
    """`pairs`: one row per holdout row with `block` and each side's answer. What reaches the driver is small whatever the rows."""
    summed = [(side, name) for side in SIDES for name in names if isinstance(MEASURES[name], Summed)]
    ranked = [(side, name) for side in SIDES for name in names if isinstance(MEASURES[name], Ranked)]
    blocks, rows, sums = _sums(pairs, summed)
    with ThreadPool(len(SIDES)) as pool:  # neither side's passes keep all cores busy
        count = inheritable_thread_target(pairs.sparkSession)(lambda side: _histograms(pairs, side, blocks))
        histograms = dict(zip(SIDES, pool.map(count, SIDES) if ranked else (), strict=False))
    return Statistics(rows, {**sums, **{(side, name): histograms[side] for side, name in ranked}})


def _sums(pairs: DataFrame, keys: list[tuple[str, MetricName]]) -> tuple[np.ndarray, np.ndarray, dict]:
    """The blocks that hold rows, in order; how many; and the sums of each metric, one row per block."""
    terms = {(side, name): MEASURES[name].terms(lambda field, side=side: F.col(f"{side}.{field}")) for side, name in keys}
    columns = [F.sum(term) for each in terms.values() for term in each]
    table = np.array(pairs.groupBy("block").agg(F.count("*"), *columns).orderBy("block").collect(), dtype=float)
    rows, place, of = table[:, 1], 2, {}
    for key, each in terms.items():
        of[key] = np.column_stack([rows, table[:, place : place + len(each)]])
        place += len(each)
    return table[:, 0], rows, of


def _histograms(pairs: DataFrame, side: str, blocks: np.ndarray) -> np.ndarray:
    """Counts by block, class and bin. Whole numbers of 4 bytes: 200 blocks take 26 MB."""
    score = F.col(f"{side}.score")
    one_zero = F.when(score == 0, 0.0).otherwise(score)  # the Bucketizer's search puts −0.0 below 0.0
    scores = pairs.select("block", F.col(f"{side}.positive").alias("positive"), one_zero.alias("score"))
    splits = _splits(scores)
    binned = Bucketizer(splits=splits, inputCol="score", outputCol="bin", handleInvalid="keep").transform(scores)
    cells = binned.groupBy("block", "positive", F.col("bin").cast("int").alias("bin")).agg(F.count("*").alias("rows")).toArrow()
    counts = np.zeros((len(blocks), 2, len(splits)), dtype=np.int32)  # one bin between two splits, and one for NaN
    place = np.searchsorted(blocks, cells["block"].to_numpy())
    counts[place, cells["positive"].to_numpy(), cells["bin"].to_numpy()] = cells["rows"].to_numpy()
    return counts.reshape(len(blocks), -1)


def _splits(scores: DataFrame) -> list[float]:
    """Quantiles, each followed by the next larger double, so that rows of equal score never share a bin with others."""
    shares = np.linspace(0, 1, BINS + 1).tolist()
    quantiles = np.array(scores.approxQuantile("score", shares, SKETCH_ERROR) or [0.0])  # no quantile: every score is NaN
    return [-np.inf, *np.unique([quantiles, np.nextafter(quantiles, np.inf)]).tolist(), np.inf]
