"""Reduces scored rows in Spark to each metric's sufficient statistics by block, small enough for the driver."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from contract.comparison import Side
from spark_jobs.statistics.bucketizer import bucketed
from spark_jobs.statistics.jackknife import Jackknife, jackknife
from spark_jobs.statistics.metrics import Measure, Ranked, Summed, rarest_of

SIDES: tuple[Side, ...] = ("challenger", "reference")
WHOLE = "whole"
# An area under the curve by bins of weight w is wrong by at most w/2: 0.31e-4 of w = 1/16384, and less than 0.6e-4 where a sample
# of a million rows makes some bins half as wide again. A value so frequent that it fills bins gets a bin of its own. Precision
# moves with the positive rows, so quantiles of their scores are cuts as well.
BINS = 16_384
BINS_OF_BLOCKS = 1_024  # of each block's histogram, where there are more rows than FEW
FEW, SAMPLED = 200_000, 1_000_000  # rows


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
    """`rows`: one for each row and side, with `side`, `positive` and `bin`; `ties`, by side: which bins hold one score only.

    The last bin holds NaN scores.
    """

    rows: DataFrame
    ties: dict[str, np.ndarray]


def flat(pairs: DataFrame, *kept: str) -> DataFrame:
    """The columns `kept`, and each side's answer struct as flat columns `<side>_<field>`, which Spark caches and reads faster."""
    sides = [side for side in SIDES if side in pairs.columns]
    named = {f"{side}_{name}": F.col(f"{side}.{name}") for side in sides for name in pairs.select(f"{side}.*").columns}
    return pairs.select(*kept, *(column.alias(name) for name, column in named.items()))


def sides_of(rows: DataFrame) -> list[str]:
    return [side for side in SIDES if any(name.startswith(f"{side}_") for name in rows.columns)]


def reduce_by_blocks(
    rows: DataFrame, groupings: Sequence[str], measures: Mapping[str, Measure], few: int = FEW, sampled: int = SAMPLED
) -> dict[str, Statistics]:
    """`rows`: the output of `flat`, with a block column for each grouping.

    Above `few` rows a ranking's value comes from a fine histogram of all rows, and each block's influence from coarse ones, whose
    error is nearly the same with the block and without. Above `sampled` rows their bins come from a sample.
    """
    marked, ranked = rows.withColumn(WHOLE, F.lit(0)), _ranked(measures)
    by_grouping = {grouping: statistics[0] for grouping, statistics in _summed(marked, WHOLE, groupings, measures).items()}
    total = int(by_grouping[groupings[0]].rows.sum())
    by_slice = {grouping: {0: statistics} for grouping, statistics in by_grouping.items()}
    cuts = partial(_cuts, marked, ranked, total, sampled=sampled)
    _add_ranked(marked, WHOLE, by_slice, ranked, cuts(BINS if total <= few else BINS_OF_BLOCKS))
    if total > few:
        _refine(marked, by_grouping, ranked, cuts(BINS))
    return by_grouping


def reduce_by_slices(
    rows: DataFrame, slices: str, groupings: Sequence[str], measures: Mapping[str, Measure], bins: int
) -> dict[int, dict[str, Statistics]]:
    """As reduce_by_blocks, by slice (integers in the column `slices`) and grouping, from histograms of `bins` bins."""
    by_grouping, ranked = _summed(rows, slices, groupings, measures), _ranked(measures)
    total = sum(int(statistics.rows.sum()) for statistics in by_grouping[groupings[0]].values())
    _add_ranked(rows, slices, by_grouping, ranked, _cuts(rows, ranked, total, bins))
    return {index: {grouping: by_grouping[grouping][index] for grouping in groupings} for index in by_grouping[groupings[0]]}


BySlice = Mapping[str, Mapping[int, Statistics]]  # by grouping and slice
Cuts = Mapping[str, np.ndarray]  # by side, between bins of its scores; empty where nothing is ranked


def _ranked(measures: Mapping[str, Measure]) -> dict[str, Ranked]:
    return {name: measure for name, measure in measures.items() if isinstance(measure, Ranked)}


def _summed(rows: DataFrame, slices: str, groupings: Sequence[str], measures: Mapping[str, Measure]) -> BySlice:
    summed = {name: measure for name, measure in measures.items() if isinstance(measure, Summed)}
    return {grouping: _sums(rows, (slices, grouping), sides_of(rows), summed) for grouping in groupings}


def _add_ranked(rows: DataFrame, slices: str, by_grouping: BySlice, ranked: Mapping[str, Ranked], cuts: Cuts) -> None:
    if not ranked:
        return
    binned = _binned(rows, (slices, *by_grouping), cuts)
    for grouping, statistics in by_grouping.items():
        for side, index, counts in _histograms(binned, (slices, grouping), statistics):
            ties = binned.ties[side]
            coarse = _coarse(counts, ties)
            for name, measure in ranked.items():
                statistics[index].of[side, name] = jackknife(counts, _of_histogram(measure, ties))
                statistics[index].coarse[side, name] = coarse


def _of_histogram(measure: Ranked, ties: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda histogram: measure.value(histogram, ties)


def _refine(rows: DataFrame, by_grouping: Mapping[str, Statistics], ranked: Mapping[str, Ranked], cuts: Cuts) -> None:
    """Shifts each ranking's values, with and without each block, to the value of the fine histogram."""
    if not ranked:
        return
    binned = _binned(rows, (), cuts)
    for side, counts in _histograms_of_all(binned):
        for (name, measure), statistics in product(ranked.items(), by_grouping.values()):
            value, rough = measure.value(counts, binned.ties[side]), statistics.of[side, name]
            statistics.of[side, name] = Jackknife(value, rough.without + (value - rough.value), abs(value))


def _sums(rows: DataFrame, keys: tuple[str, str], sides: Sequence[str], measures: Mapping[str, Summed]) -> dict[int, Statistics]:
    """By slice: its non-empty blocks in order, and the statistics that are sums over rows."""
    terms = {(side, name): measure.terms(partial(_field, side)) for side in sides for name, measure in measures.items()}
    binary = f"{sides[0]}_positive" in rows.columns
    positives = F.sum(_field(sides[0], "positive")) if binary else F.lit(0)
    columns = [F.sum(term) for term_columns in terms.values() for term in term_columns]
    counted = rows.groupBy(*keys).agg(F.count("*"), positives, *columns).orderBy(*keys)
    table = np.array(counted.collect(), dtype=float)
    widths = {key: len(term_columns) for key, term_columns in terms.items()}
    return {int(index): _statistics(table[table[:, 0] == index, 1:], widths, measures, binary) for index in np.unique(table[:, 0])}


def _statistics(
    table: np.ndarray, widths: Mapping[tuple[str, str], int], measures: Mapping[str, Summed], binary: bool
) -> Statistics:
    """`table`: columns block, rows, positives, then for each (side, metric) its `widths[…]` sums; one row per block."""
    rows, start, sums = table[:, 1], 3, {}
    for key, width in widths.items():
        sums[key] = np.column_stack([rows, table[:, start : start + width]])
        start += width
    of = {(side, name): jackknife(of_blocks, measures[name].value) for (side, name), of_blocks in sums.items()}
    rarest = next((rarest_of(of_blocks) for (_, name), of_blocks in sums.items() if name == "macro_f1"), None)
    return Statistics(table[:, 0], rows, int(table[:, 2].sum()) if binary else None, rarest, of, {})


def _named(side: str, name: str) -> str:
    return f"{side}_{name}"


def _field(side: str, name: str) -> Column:
    return F.col(_named(side, name))


def _score(side: str) -> Column:
    score = _field(side, "score")
    return F.when(score == 0, 0.0).otherwise(score)  # the Bucketizer sorts −0.0 below 0.0


def _binned(rows: DataFrame, keys: Sequence[str], cuts: Cuts) -> Binned:
    """Each cut is followed by the next larger double, so that rows of equal score never share a bin with others."""
    scores = rows.select(
        *(F.col(key).cast("int") for key in keys),
        *(_field(side, "positive") for side in cuts),
        *(_score(side).alias(_named(side, "score")) for side in cuts),
    )
    ties, of_sides = {}, []
    for index, side in enumerate(cuts):
        splits = np.concatenate([[-np.inf], np.unique([cuts[side], np.nextafter(cuts[side], np.inf)]), [np.inf]])
        scores = bucketed(scores, _named(side, "score"), splits, _named(side, "bin"))
        ties[side] = np.append(np.nextafter(splits[:-1], np.inf) == splits[1:], False)
        bin_index = _field(side, "bin").cast("int").alias("bin")
        of_sides.append(F.struct(F.lit(index).alias("side"), _field(side, "positive").alias("positive"), bin_index))
    return Binned(scores.select(*keys, F.inline(F.array(*of_sides))), ties)


def _arrays(rows: DataFrame) -> dict[str, np.ndarray]:
    """The values of each column."""
    frame: Any = rows.toPandas()  # pandas has no type hints here
    return {name: frame[name].to_numpy() for name in rows.columns}


def _histograms_of_all(binned: Binned) -> Iterator[tuple[str, np.ndarray]]:
    """By side: all rows by class and bin, flattened."""
    cells = _arrays(binned.rows.groupBy("side", "positive", "bin").agg(F.count("*").alias("rows")))
    for number, (side, ties) in enumerate(binned.ties.items()):
        positive, bin_index, rows = (cells[name][cells["side"] == number] for name in ("positive", "bin", "rows"))
        counts = np.zeros((2, len(ties)))
        counts[positive, bin_index] = rows
        yield side, counts.reshape(-1)


def _histograms(
    binned: Binned, keys: tuple[str, str], statistics: Mapping[int, Statistics]
) -> Iterator[tuple[str, int, np.ndarray]]:
    """By side and slice: rows by block, class and bin, flattened to blocks × (2·bins)."""
    cells = _arrays(binned.rows.groupBy("side", *keys, "positive", "bin").agg(F.count("*").cast("int").alias("rows")))
    sides, slices, *where, rows = (cells[name] for name in ("side", *keys, "positive", "bin", "rows"))
    for (number, (side, ties)), (index, of_slice) in product(enumerate(binned.ties.items()), statistics.items()):
        here = (sides == number) & (slices == index)
        block, positive, score = (column[here] for column in where)
        counts = np.zeros((len(of_slice.blocks), 2, len(ties)), dtype=np.int32)
        counts[np.searchsorted(of_slice.blocks, block), positive, score] = rows[here]
        yield side, index, counts.reshape(len(of_slice.blocks), -1)


def _coarse(histograms: np.ndarray, ties: np.ndarray) -> float:
    rows = histograms.sum(axis=0).reshape(2, -1).sum(axis=0)
    return float(rows[:-1][~ties[:-1]].max(initial=0) / rows.sum())  # NaN scores are handled by the metric


def _cuts(rows: DataFrame, ranked: Mapping[str, Ranked], total: int, bins: int, sampled: int = SAMPLED) -> Cuts:
    """Quantiles of the scores of all rows and of the positive rows; from a sample above `sampled` rows."""
    if not ranked:
        return {}
    sides = sides_of(rows)
    sample = rows if total <= sampled else rows.sample(sampled / total, seed=1)
    scores = _arrays(sample.select(_field(sides[0], "positive").alias("positive"), *(_score(side).alias(side) for side in sides)))
    positive = scores["positive"] == 1
    return {side: _quantiles(scores[side], positive, bins) for side in sides}


def _quantiles(scores: np.ndarray, positive: np.ndarray, bins: int) -> np.ndarray:
    cuts = [np.array([0.0])]  # for scores that are all NaN
    for subset in (scores, scores[positive]):
        ordered = np.sort(subset[~np.isnan(subset)])
        if len(ordered):
            cuts.append(ordered[np.linspace(0, len(ordered) - 1, bins + 1).round().astype(int)])
    return np.unique(np.concatenate(cuts[1:] or cuts))
