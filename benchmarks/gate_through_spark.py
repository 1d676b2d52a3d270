"""The same pairs once as rows through Spark and once as numpy sums: both give the same interval, to 1e-9.

`python -m benchmarks.gate_through_spark` in Spark's environment; fifty pairs for each world, number of blocks and metric.
"""

import sys

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn.metrics import log_loss, mean_absolute_error, roc_auc_score

from benchmarks.gate_errors import BLOCKS, LEVEL, METRICS, Metric
from benchmarks.gate_worlds import ROWS as FULL
from benchmarks.gate_worlds import WORLDS, World
from contract.comparison import Interval
from contract.gate import Gate
from spark_jobs.runtime.session import start_session
from spark_jobs.statistics.block_statistics import BINS, Statistics, flat, reduce_by_slices
from spark_jobs.statistics.jackknife import Blocked, Grouping, Jackknife, improvement, interval
from spark_jobs.statistics.metrics import measures_of

PAIRS, ROWS, GRID = 50, 60, 50  # rows of a block; different scores
TOLERANCE = 1e-9
SIDES = ("challenger", "reference")


def rows_of(world: World, blocks: int, seed: int) -> pd.DataFrame:
    """One row per example: both models' scores, on a grid, and errors."""
    rng = np.random.default_rng(seed)
    effects = world.effects(rng, PAIRS, blocks)
    sizes = np.maximum(world.sizes(rng, PAIRS, blocks) * ROWS // FULL, 20)
    pair, block = (np.repeat(index.ravel(), sizes.ravel()) for index in np.indices(sizes.shape))
    effect = np.repeat(effects.ravel(), sizes.ravel())
    label = (rng.random(len(pair)) < 0.3).astype(int)
    columns = {"pair": pair, "time_block": block, "label": label}
    for side, moved in zip(SIDES, (0.1 * effect, 0.0), strict=True):
        score = 1 / (1 + np.exp(-(1.5 * label - 1 + moved + rng.normal(size=len(pair)))))
        columns[f"{side}_score"] = (np.clip(np.floor(score * GRID), 0, GRID - 1) + 0.5) / GRID
        columns[f"{side}_error"] = rng.normal(size=len(pair)) * (1 + 0.1 * moved)
    return pd.DataFrame(columns)


def through_spark(spark: SparkSession, rows: pd.DataFrame, metric: Metric) -> dict[int, Interval]:
    frame = spark.createDataFrame(rows).select("pair", "time_block", *(_answer(side) for side in SIDES))
    measures = measures_of([metric.name], metric.task, Gate(metric=metric.name))
    by_pair = reduce_by_slices(flat(_only(frame, metric), "pair", "time_block"), "pair", ["time_block"], measures, BINS)
    return {pair: _interval(statistics["time_block"], metric) for pair, statistics in by_pair.items()}


def _answer(side: str) -> Column:
    score, label = F.col(f"{side}_score"), F.col("label")
    truth = F.when(label == 1, score).otherwise(1 - score)
    fields = (truth.alias("truth"), score.alias("score"), label.alias("positive"), F.col(f"{side}_error").alias("error"))
    return F.struct(*fields).alias(side)


def _only(frame: DataFrame, metric: Metric) -> DataFrame:
    """Without the columns of classes where the metric is a regression's."""
    if metric.task == "binary":
        return frame
    return frame.select("pair", "time_block", *(F.struct(F.col(f"{side}.error").alias("error")).alias(side) for side in SIDES))


def _interval(statistics: Statistics, metric: Metric) -> Interval:
    ours, theirs = (statistics.of[side, metric.name] for side in SIDES)
    return interval([Blocked(improvement(ours, theirs, metric.lower_is_better), Grouping(statistics.rows, True))], LEVEL)


def by_hand(rows: pd.DataFrame, metric: Metric) -> Interval:
    """The interval of one pair, its metrics by scikit-learn: only `interval` and `improvement` are the project's."""
    sides = [_jackknife(rows, metric, side) for side in SIDES]
    sizes = rows.groupby("time_block").size().to_numpy(dtype=float)
    return interval([Blocked(improvement(*sides, metric.lower_is_better), Grouping(sizes, True))], LEVEL)


def _jackknife(rows: pd.DataFrame, metric: Metric, side: str) -> Jackknife:
    whole = _value(rows, metric, side)
    blocks = sorted(rows["time_block"].unique())
    without = [_value(rows[rows["time_block"] != block], metric, side) for block in blocks]
    return Jackknife(whole, np.array(without), abs(whole))


def _value(rows: pd.DataFrame, metric: Metric, side: str) -> float:
    if metric.name == "mae":
        return mean_absolute_error(np.zeros(len(rows)), rows[f"{side}_error"])
    reference = log_loss if metric.name == "log_loss" else roc_auc_score
    return reference(rows["label"], rows[f"{side}_score"])


def main() -> None:
    spark, compared, largest = start_session("gate through Spark"), 0, 0.0
    for blocks in BLOCKS:
        for index, world in enumerate(WORLDS):
            rows = rows_of(world, blocks, 100 * blocks + index)
            for metric in METRICS:
                intervals = through_spark(spark, rows, metric)
                expected = {pair: by_hand(group, metric) for pair, group in rows.groupby("pair")}
                off = max(_distance(intervals[pair], expected[pair]) for pair in expected)
                compared, largest = compared + len(expected), max(largest, off)
                print(f"{metric.name:<9} {world.name:<14} {blocks:>3} blocks: {len(expected)} pairs, off by {off:.1e}", flush=True)
    print(f"{compared:,} pairs, off by {largest:.1e} at most; target ≤ {TOLERANCE:.0e}")
    sys.exit(largest > TOLERANCE)


def _distance(actual: Interval, expected: Interval) -> float:
    """Largest difference of value, low and high; infinite where only one of them is None."""
    pairs = [(actual.value, expected.value), (actual.low, expected.low), (actual.high, expected.high)]
    return max(0.0 if one is other is None else np.inf if None in (one, other) else abs(one - other) for one, other in pairs)


if __name__ == "__main__":
    main()
