"""Scored rows reduced, in Spark, to each metric's sufficient statistics by block: what reaches the driver is small."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import numpy as np
from pyspark import inheritable_thread_target
from pyspark.ml.feature import Bucketizer
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_jobs.measures import Measure, Ranked, Summed, rarest_of
from spark_jobs.paired import Jackknife, jackknife

SIDES = ("challenger", "opponent")
WHOLE = "whole"
# An area under the curve by bins of equal weight w is wrong by at most w/2; a quantile sketch may widen each bin by twice its
# error, a quarter of w. So at most (1/12288 + 2/49152)/2 = 0.61e-4. A value so frequent that it fills bins gets a bin of its own.
# Precision moves with the positive rows, so quantiles of their scores are cuts as well.
BINS = 12_288


class Statistics(NamedTuple):
    """`rows` per block, in block order; `positives` of all, for two classes; `rarest`: rows of the rarest class, for macro_f1.

    `of[side, metric]`: on all rows and without each block. `coarse[side, metric]`: of a ranking, the share of rows in the fullest
    bin of different scores.
    """

    blocks: np.ndarray
    rows: np.ndarray
    positives: int | None
    rarest: int | None
    of: dict[tuple[str, str], Jackknife]
    coarse: dict[tuple[str, str], float]


class Binned(NamedTuple):
    """Rows with `positive` and `bin`; `ties`: which bins hold one score only. The last bin is of scores that are no numbers."""

    rows: DataFrame
    ties: np.ndarray


def reduce_by_blocks(pairs: DataFrame, groupings: Sequence[str], measures: Mapping[str, Measure]) -> dict[str, Statistics]:
    """`pairs`: one row per holdout row with the answer of each side that is there, and a column of blocks for each grouping."""
    return reduce_by_slices(pairs.withColumn(WHOLE, F.lit(0)), WHOLE, groupings, measures)[0]


def reduce_by_slices(
    pairs: DataFrame, slices: str, groupings: Sequence[str], measures: Mapping[str, Measure], bins: int = BINS
) -> dict[int, dict[str, Statistics]]:
    """The same for each whole number in the column `slices`."""
    sides = [side for side in SIDES if side in pairs.columns]
    summed = {name: measure for name, measure in measures.items() if isinstance(measure, Summed)}
    ranked = {name: measure for name, measure in measures.items() if isinstance(measure, Ranked)}
    found = {grouping: _sums(pairs, (slices, grouping), sides, summed) for grouping in groupings}

    splits = _splits(pairs, sides, bins) if ranked else {}

    def add(side: str) -> None:
        binned = _binned(pairs, side, (slices, *groupings), splits[side])
        for grouping, statistics in found.items():
            for place, counts in _histograms(binned, (slices, grouping), statistics):
                coarse = _coarse(counts, binned.ties)
                for name, measure in ranked.items():
                    statistics[place].of[side, name] = jackknife(counts, partial(measure.value, ties=binned.ties))
                    statistics[place].coarse[side, name] = coarse

    with ThreadPool(len(sides)) as pool:  # one side's passes do not keep all cores busy
        pool.map(inheritable_thread_target(pairs.sparkSession)(add), splits)
    return {place: {grouping: found[grouping][place] for grouping in groupings} for place in found[groupings[0]]}


def _sums(pairs: DataFrame, keys: tuple[str, str], sides: Sequence[str], measures: Mapping[str, Summed]) -> dict[int, Statistics]:
    """By slice: the blocks that hold rows, in order, and what is a sum of rows."""
    terms = {(side, name): measure.terms(partial(_field, side)) for side in sides for name, measure in measures.items()}
    binary = "positive" in pairs.schema[sides[0]].dataType.names
    positives = F.sum(_field(sides[0], "positive")) if binary else F.lit(0)
    columns = [F.sum(term) for each in terms.values() for term in each]
    counted = pairs.groupBy(*keys).agg(F.count("*"), positives, *columns).orderBy(*keys)
    table = np.array(counted.collect(), dtype=float)
    widths = {key: len(each) for key, each in terms.items()}
    return {int(place): _statistics(table[table[:, 0] == place, 1:], widths, measures, binary) for place in np.unique(table[:, 0])}


def _statistics(
    table: np.ndarray, widths: Mapping[tuple[str, str], int], measures: Mapping[str, Summed], binary: bool
) -> Statistics:
    """`table`: block, rows, positives, then each side's and metric's sums, `widths` of them."""
    rows, start, sums = table[:, 1], 3, {}
    for key, width in widths.items():
        sums[key] = np.column_stack([rows, table[:, start : start + width]])
        start += width
    of = {(side, name): jackknife(each, measures[name].value) for (side, name), each in sums.items()}
    rarest = next((rarest_of(each) for (_, name), each in sums.items() if name == "macro_f1"), None)
    return Statistics(table[:, 0], rows, int(table[:, 2].sum()) if binary else None, rarest, of, {})


def _field(side: str, name: str) -> Column:
    return F.col(f"{side}.{name}")


def _score(side: str) -> Column:
    score = _field(side, "score")
    return F.when(score == 0, 0.0).otherwise(score)  # the Bucketizer's search puts −0.0 below 0.0


def _binned(pairs: DataFrame, side: str, keys: Sequence[str], splits: list[float]) -> Binned:
    scores = pairs.select(
        *(F.col(key).cast("int") for key in keys), _field(side, "positive").alias("positive"), _score(side).alias("score")
    )
    binned = Bucketizer(splits=splits, inputCol="score", outputCol="bin", handleInvalid="keep").transform(scores)
    ties = np.append(np.nextafter(splits[:-1], np.inf) == splits[1:], False)
    return Binned(binned.withColumn("bin", F.col("bin").cast("int")), ties)


def _histograms(binned: Binned, keys: tuple[str, str], statistics: Mapping[int, Statistics]) -> Iterator[tuple[int, np.ndarray]]:
    """By slice: rows by block, class and bin, flattened to blocks × (2·bins). Whole numbers of 4 bytes: 200 blocks of the whole
    take at most 80 MB, and are let go before those of the next grouping come.
    """
    cells = binned.rows.groupBy(*keys, "positive", "bin").agg(F.count("*").cast("int").alias("rows")).toArrow()
    slices, *where, rows = (cells[name].to_numpy() for name in (*keys, "positive", "bin", "rows"))
    for place, each in statistics.items():
        here = slices == place
        block, positive, score = (column[here] for column in where)
        counts = np.zeros((len(each.blocks), 2, len(binned.ties)), dtype=np.int32)
        counts[np.searchsorted(each.blocks, block), positive, score] = rows[here]
        yield place, counts.reshape(len(each.blocks), -1)


def _coarse(histograms: np.ndarray, ties: np.ndarray) -> float:
    rows = histograms.sum(axis=0).reshape(2, -1).sum(axis=0)
    return float(rows[:-1][~ties[:-1]].max(initial=0) / rows.sum())  # scores that are no numbers are another trouble


def _splits(pairs: DataFrame, sides: Sequence[str], bins: int) -> dict[str, list[float]]:
    """By side, quantiles of all scores and of the positive rows', in one pass; each is followed by the next larger double, so that
    rows of equal score never share a bin with others."""
    asked = []
    for side in sides:
        known = F.when(~F.isnan(_score(side)), _score(side))
        asked += [_quantiles(known, bins), _quantiles(F.when(_field(side, "positive") == 1, known), bins)]
    found = [cuts or [] for cuts in pairs.agg(*asked).first()]
    cuts = {side: found[2 * place] + found[2 * place + 1] or [0.0] for place, side in enumerate(sides)}  # none: all scores are NaN
    return {side: [-np.inf, *np.unique([each, np.nextafter(each, np.inf)]).tolist(), np.inf] for side, each in cuts.items()}


def _quantiles(score: Column, bins: int) -> Column:
    """The shares go to the JVM as one text: a list of them would be sent number by number, which takes seconds."""
    shares = ",".join(str(share) for share in np.linspace(0, 1, bins + 1).tolist())
    return F.percentile_approx(score, F.split(F.lit(shares), ",").cast("array<double>"), 4 * bins)
