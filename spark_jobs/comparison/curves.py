"""Both sides' curves for the verdict page: reliability diagram, ROC and precision-recall of two classes, regression residuals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from contract.comparison import Curves, Side
from contract.metrics import Task
from spark_jobs.runtime.spark_api import first_row
from spark_jobs.statistics.block_statistics import SIDES

SCORE_BINS, CALIBRATION_BINS = 100, 10
RESIDUAL_BINS = 40


def curves_of(rows: DataFrame, task: Task) -> dict[Side, Curves]:
    """By side; empty for several classes and where a curve is undefined (one class only, all residuals zero or not finite)."""
    if task == "multiclass":
        return {}
    curves_by_side = _binary_curves(rows) if task == "binary" else _regression_curves(rows)
    return {side: curves for side, curves in curves_by_side.items() if curves is not None}


def _binary_curves(pairs: DataFrame) -> dict[Side, Curves | None]:
    """From one query: it groups by the bins of both sides, and each side sums over the other's."""
    bins, numbers = [], []
    for side in SIDES:
        score, positive = F.col(f"{side}_score"), F.col(f"{side}_positive")
        bins.append(F.when(~F.isnan(score), F.least(F.floor(score * SCORE_BINS), F.lit(SCORE_BINS - 1))))
        numbers += [F.sum(score), F.sum(positive)]
    cells = _aggregates_by_bins(pairs, bins, F.count("*"), *numbers)
    return {side: _binary_curve(_of_side(cells, number, SCORE_BINS)) for number, side in enumerate(SIDES)}


def _of_side(cells: Sequence[tuple[Any, ...]], side: int, bins: int) -> np.ndarray:
    """Sums by bin of a side: rows, then the numbers of this side, if any. `cells`: bin of each side, rows, numbers of each side."""
    numbers = (len(cells[0]) - 1 - len(SIDES)) // len(SIDES) if cells else 0
    own = slice(len(SIDES) + 1 + side * numbers, len(SIDES) + 1 + (side + 1) * numbers)
    table = np.zeros((bins, 1 + numbers))
    for cell in cells:
        if cell[side] is not None:
            table[int(cell[side])] += [cell[len(SIDES)], *cell[own]]
    return table


def _binary_curve(table: np.ndarray) -> Curves | None:
    rows, scores, positives = table.T
    if not positives.sum() or positives.sum() == rows.sum():
        return None
    calibration = _calibration(*(column.reshape(CALIBRATION_BINS, -1).sum(axis=1) for column in (rows, scores, positives)))
    error = sum(count * abs(predicted - observed) for predicted, observed, count in calibration) / rows.sum()
    return Curves(calibration=calibration, calibration_error=error, ranking=_ranking(rows[::-1], positives[::-1]))


def _calibration(rows: np.ndarray, scores: np.ndarray, positives: np.ndarray) -> tuple[tuple[float, float, int], ...]:
    filled = rows > 0
    predicted, observed = scores[filled] / rows[filled], positives[filled] / rows[filled]
    return tuple(zip(predicted.tolist(), observed.tolist(), rows[filled].astype(int).tolist(), strict=True))


def _ranking(rows: np.ndarray, positives: np.ndarray) -> tuple[tuple[float, float, float], ...]:
    """(false positive rate, true positive rate, precision) from the highest score bin down; empty bins are left out."""
    filled = rows > 0
    selected, hits = np.cumsum(rows[filled]), np.cumsum(positives[filled])
    false_rate, true_rate = (selected - hits) / (selected[-1] - hits[-1]), hits / hits[-1]
    return tuple(zip(false_rate.tolist(), true_rate.tolist(), (hits / selected).tolist(), strict=True))


def _regression_curves(pairs: DataFrame) -> dict[Side, Curves | None]:
    """Residuals (predicted − actual) of both sides in the same bins, so that they can be overlaid."""
    quantiles = [F.percentile_approx(F.abs(F.col(f"{side}_error")), 0.99) for side in SIDES]
    largest = max(first_row(pairs.agg(*quantiles)), key=lambda quantile: -1.0 if quantile is None else quantile)
    if largest is None or not np.isfinite(largest) or largest == 0:
        return {}
    edges = np.linspace(-largest, largest, RESIDUAL_BINS + 1)
    cells = _aggregates_by_bins(pairs, [_residual_bin(F.col(f"{side}_error"), edges) for side in SIDES], F.count("*"))
    return {side: _residuals(_of_side(cells, number, RESIDUAL_BINS)[:, 0], edges) for number, side in enumerate(SIDES)}


def _residual_bin(error: Column, edges: np.ndarray) -> Column:
    width = float(edges[1] - edges[0])
    bin_index = F.least(F.greatest(F.floor((error - float(edges[0])) / width), F.lit(0)), F.lit(RESIDUAL_BINS - 1))
    return F.when(~F.isnan(error), bin_index)


def _residuals(rows: np.ndarray, edges: np.ndarray) -> Curves:
    return Curves(residuals=tuple(zip(edges[:-1].tolist(), edges[1:].tolist(), rows.astype(int).tolist(), strict=True)))


def _aggregates_by_bins(rows: DataFrame, bins: Sequence[Column], *numbers: Column) -> Sequence[tuple[Any, ...]]:
    named = [bin_index.alias(f"bin_{number}") for number, bin_index in enumerate(bins)]
    return [tuple(row) for row in rows.groupBy(*named).agg(*numbers).collect()]
