"""What a yearly budget of false promotions keeps, and what it costs: a year of daily evaluations, each of another challenger.

`python -m benchmarks.gate_budget [--years 400]` in Spark's environment; ten minutes on two cores. Holdouts of 14 and 30 days
overlap from one evaluation to the next; consecutive challengers' daily differences are correlated by 0 or 0.97, neighbouring days
by 0 or 0.3.
"""

import argparse
import json
from functools import partial
from itertools import product
from multiprocessing import Pool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.signal import lfilter

from spark_jobs.statistics.jackknife import Blocked, Grouping, improvement, interval, jackknife

OUT = Path(__file__).parent / "results" / "gate_budget.json"
EVALUATIONS, MARGIN = 365, 0.002
BUDGETS = {"none": None, "4 a year": 4.0, "1 a year": 1.0}
SIDE = 0.025
DAILY, ROWS, LOSS = 0.010, 1_000, 0.30  # how the improvement varies from day to day; rows of a day; a model's mean loss
AHEAD = 4.3  # true standard errors of one evaluation beyond the boundary
SEED = 20261122


class Cell(NamedTuple):
    holdout: int
    challengers: float
    days: float


class Evaluations(NamedTuple):
    """`ahead`: years × evaluations, the improvement's distance above the margin in the interval's standard errors; its freedom."""

    ahead: np.ndarray
    degrees_of_freedom: int

    def promoted(self, level: float) -> np.ndarray:
        return self.ahead > stats.t.ppf(1 - level, self.degrees_of_freedom)


def effects(rng: np.random.Generator, cell: Cell) -> np.ndarray:
    """Evaluations × days, of variance 1: correlated from one challenger to the next, and from one day to the next."""
    noise = rng.normal(size=(EVALUATIONS, EVALUATIONS + cell.holdout))
    return _correlated(_correlated(noise, cell.challengers, 0), cell.days, 1)


def _correlated(noise: np.ndarray, by: float, axis: int) -> np.ndarray:
    """A stationary AR(1) process along the axis."""
    scaled = noise * np.sqrt(1 - by**2)
    first = (0, slice(None)) if axis == 0 else (slice(None), 0)
    scaled[first] = noise[first]
    return lfilter([1.0], [1.0, -by], scaled, axis=axis)


def simulated(cell: Cell, gained: float, years: int, seed: int) -> Evaluations:
    rng, rows, results = np.random.default_rng(seed), np.full(cell.holdout, float(ROWS)), []
    for _ in range(years):
        improved = gained + DAILY * effects(rng, cell)
        results += [_evaluate(improved[index, index : index + cell.holdout], rows) for index in range(EVALUATIONS)]
    ahead, degrees_of_freedom = np.array(results).T
    return Evaluations(ahead.reshape(years, EVALUATIONS), int(degrees_of_freedom[0]))


def _evaluate(improved: np.ndarray, rows: np.ndarray) -> tuple[float, int]:
    sides = [jackknife(np.column_stack([rows, rows * loss]), _mean) for loss in (LOSS - improved, np.full(len(rows), LOSS))]
    result = interval([Blocked(improvement(*sides, lower_is_better=True), Grouping(rows, True))], SIDE)
    return (result.value - MARGIN) / result.standard_error, result.degrees_of_freedom


def _mean(total: np.ndarray) -> float:
    return total[1] / total[0]


def true_error(cell: Cell) -> float:
    """Standard error of the mean over the holdout's days."""
    lags = np.arange(1, cell.holdout)
    return DAILY * np.sqrt((1 + 2 * ((1 - lags / cell.holdout) * cell.days**lags).sum()) / cell.holdout)


def measured(cell: Cell, years: int) -> dict:
    seed = SEED + 100 * cell.holdout + int(10 * cell.challengers) + int(1000 * cell.days)
    null = simulated(cell, MARGIN, years, seed)
    better = simulated(cell, MARGIN + AHEAD * true_error(cell), max(years // 20, 2), seed + 1)
    return {**cell._asdict(), "budgets": {name: _of_budget(null, better, budget) for name, budget in BUDGETS.items()}}


def _of_budget(null: Evaluations, better: Evaluations, budget: float | None) -> dict[str, float]:
    """False promotions a year and that mean's error; the share of evaluations that promote a better challenger; days until one."""
    level = SIDE if budget is None else min(SIDE, budget / EVALUATIONS)
    a_year, right = null.promoted(level).sum(axis=1), better.promoted(level)
    waited = np.where(right.any(axis=1), right.argmax(axis=1), EVALUATIONS)
    return {
        "allowed": EVALUATIONS * level,
        "false_a_year": float(a_year.mean()),
        "false_error": float(a_year.std() / np.sqrt(len(a_year))),
        "years_without": float((a_year == 0).mean()),
        "power": float(right.mean()),
        "days_until": float(waited.mean()),
    }


def summary(result: dict) -> str:
    about = f"{result['holdout']} days, challengers {result['challengers']:g}, days {result['days']:g}"
    parts = [
        f"budget {name}: {figures['false_a_year']:.2f} ± {figures['false_error']:.2f} false a year "
        f"of {figures['allowed']:.1f} allowed, none in {figures['years_without']:.0%} of years, power {figures['power']:.0%}"
        for name, figures in result["budgets"].items()
    ]
    return f"{about}: {'; '.join(parts)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=400)
    years = parser.parse_args().years
    cells = [Cell(*values) for values in product((30, 14), (0.0, 0.97), (0.0, 0.3))]
    with Pool(2) as pool:
        results = []
        for result in pool.imap(partial(measured, years=years), cells):
            results.append(result)
            print(summary(result), flush=True)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"years": years, "cells": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
