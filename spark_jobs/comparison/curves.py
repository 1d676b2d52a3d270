"""What both sides' answers look like, in a few dozen numbers: calibration and ranking of two classes, residuals of a regression."""

from collections.abc import Sequence

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from contract.comparison import Curves
from contract.metrics import Task
from spark_jobs.statistics.block_statistics import SIDES

FINE, TENTHS = 100, 10
RESIDUAL_BINS = 40


def curves_of(rows: DataFrame, task: Task) -> dict[str, Curves]:
    """By side; empty for several classes, and where an answer is no number."""
    if task == "multiclass":
        return {}
    found = {side: _of_classes(rows, side) for side in SIDES} if task == "binary" else _of_numbers(rows)
    return {side: curves for side, curves in found.items() if curves is not None}


def _of_classes(pairs: DataFrame, side: str) -> Curves | None:
    score, positive = F.col(f"{side}_score"), F.col(f"{side}_positive")
    place = F.least(F.floor(score * FINE), F.lit(FINE - 1))
    table = np.zeros((FINE, 3))
    for at, *numbers in _counted(pairs.where(~F.isnan(score)), place, F.count("*"), F.sum(score), F.sum(positive)):
        table[int(at)] = numbers
    rows, scores, positives = table.T
    if not positives.sum() or positives.sum() == rows.sum():
        return None
    calibration = _calibration(*(column.reshape(TENTHS, -1).sum(axis=1) for column in (rows, scores, positives)))
    error = sum(count * abs(said - seen) for said, seen, count in calibration) / rows.sum()
    return Curves(calibration=calibration, calibration_error=error, ranking=_ranking(rows[::-1], positives[::-1]))


def _calibration(rows: np.ndarray, scores: np.ndarray, positives: np.ndarray) -> tuple[tuple[float, float, int], ...]:
    there = rows > 0
    said, seen = scores[there] / rows[there], positives[there] / rows[there]
    return tuple(zip(said.tolist(), seen.tolist(), rows[there].astype(int).tolist(), strict=True))


def _ranking(rows: np.ndarray, positives: np.ndarray) -> tuple[tuple[float, float, float], ...]:
    """From the highest scores down."""
    kept = rows > 0
    above, hits = np.cumsum(rows[kept]), np.cumsum(positives[kept])
    false_rate, true_rate = (above - hits) / (above[-1] - hits[-1]), hits / hits[-1]
    return tuple(zip(false_rate.tolist(), true_rate.tolist(), (hits / above).tolist(), strict=True))


def _of_numbers(pairs: DataFrame) -> dict[str, Curves | None]:
    """Both sides in the same bins, so that they can be laid over each other."""
    middle = [F.percentile_approx(F.abs(F.col(f"{side}_error")), 0.99) for side in SIDES]
    largest = max(pairs.agg(*middle).first(), key=lambda each: -1.0 if each is None else each)
    if largest is None or not np.isfinite(largest) or largest == 0:
        return {}
    edges = np.linspace(-largest, largest, RESIDUAL_BINS + 1)
    return {side: _residuals(pairs, side, edges) for side in SIDES}


def _residuals(pairs: DataFrame, side: str, edges: np.ndarray) -> Curves:
    error, width = F.col(f"{side}_error"), float(edges[1] - edges[0])
    place = F.least(F.greatest(F.floor((error - float(edges[0])) / width), F.lit(0)), F.lit(RESIDUAL_BINS - 1))
    counted = dict(_counted(pairs.where(~F.isnan(error)), place, F.count("*")))
    rows = [counted.get(at, 0) for at in range(RESIDUAL_BINS)]
    return Curves(residuals=tuple(zip(edges[:-1].tolist(), edges[1:].tolist(), rows, strict=True)))


def _counted(rows: DataFrame, place: Column, *numbers: Column) -> Sequence[tuple]:
    return [tuple(row) for row in rows.groupBy(place).agg(*numbers).collect()]
