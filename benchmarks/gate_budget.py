"""What a yearly budget of false promotions holds, and what it costs: a year of daily looks, each at another challenger.

`python -m benchmarks.gate_budget [--years 400]` in Spark's environment; ten minutes on two cores. Holdouts of 14 and 30 days
overlap from look to look; consecutive challengers' daily differences are correlated by 0 or 0.97, neighbouring days by 0 or 0.3.
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
LOOKS, MARGIN = 365, 0.002
BUDGETS = {"none": None, "4 a year": 4.0, "1 a year": 1.0}
SIDE = 0.025
DAILY, ROWS, LOSS = 0.010, 1_000, 0.30  # how the improvement varies from day to day; rows of a day; a model's mean loss
AHEAD = 4.3  # true standard errors of one look beyond the boundary
SEED = 20261122


class Cell(NamedTuple):
    holdout: int
    challengers: float
    days: float


class Looked(NamedTuple):
    """Of each look of each year: by how many of the interval's standard errors the improvement is above the margin; its freedom."""

    ahead: np.ndarray
    freedom: int

    def promoted(self, level: float) -> np.ndarray:
        return self.ahead > stats.t.ppf(1 - level, self.freedom)


def effects(rng: np.random.Generator, cell: Cell) -> np.ndarray:
    """Looks × days, of variance 1: correlated from one challenger to the next, and from one day to the next."""
    noise = rng.normal(size=(LOOKS, LOOKS + cell.holdout))
    return _correlated(_correlated(noise, cell.challengers, 0), cell.days, 1)


def _correlated(noise: np.ndarray, by: float, axis: int) -> np.ndarray:
    """A stationary AR(1) process along the axis."""
    scaled = noise * np.sqrt(1 - by**2)
    first = (0, slice(None)) if axis == 0 else (slice(None), 0)
    scaled[first] = noise[first]
    return lfilter([1.0], [1.0, -by], scaled, axis=axis)


def looked(cell: Cell, gained: float, years: int, seed: int) -> Looked:
    rng, rows, found = np.random.default_rng(seed), np.full(cell.holdout, float(ROWS)), []
    for _ in range(years):
        improved = gained + DAILY * effects(rng, cell)
        found += [_look(improved[look, look : look + cell.holdout], rows) for look in range(LOOKS)]
    ahead, freedom = np.array(found).T
    return Looked(ahead.reshape(years, LOOKS), int(freedom[0]))


def _look(improved: np.ndarray, rows: np.ndarray) -> tuple[float, int]:
    sides = [jackknife(np.column_stack([rows, rows * loss]), _mean) for loss in (LOSS - improved, np.full(len(rows), LOSS))]
    found = interval([Blocked(improvement(*sides, lower_is_better=True), Grouping(rows, True))], SIDE)
    return (found.value - MARGIN) / found.error, found.freedom


def _mean(total: np.ndarray) -> float:
    return total[1] / total[0]


def true_error(cell: Cell) -> float:
    """Of a mean of so many days."""
    lags = np.arange(1, cell.holdout)
    return DAILY * np.sqrt((1 + 2 * ((1 - lags / cell.holdout) * cell.days**lags).sum()) / cell.holdout)


def measured(cell: Cell, years: int) -> dict:
    seed = SEED + 100 * cell.holdout + int(10 * cell.challengers) + int(1000 * cell.days)
    null = looked(cell, MARGIN, years, seed)
    better = looked(cell, MARGIN + AHEAD * true_error(cell), max(years // 20, 2), seed + 1)
    return {**cell._asdict(), "budgets": {name: _of_budget(null, better, budget) for name, budget in BUDGETS.items()}}


def _of_budget(null: Looked, better: Looked, budget: float | None) -> dict[str, float]:
    """False promotions a year and that mean's error; the share of looks that promote what is better; days until one does."""
    level = SIDE if budget is None else min(SIDE, budget / LOOKS)
    a_year, right = null.promoted(level).sum(axis=1), better.promoted(level)
    waited = np.where(right.any(axis=1), right.argmax(axis=1), LOOKS)
    return {
        "allowed": LOOKS * level,
        "false_a_year": float(a_year.mean()),
        "false_error": float(a_year.std() / np.sqrt(len(a_year))),
        "years_without": float((a_year == 0).mean()),
        "power": float(right.mean()),
        "days_until": float(waited.mean()),
    }


def told(found: dict) -> str:
    about = f"{found['holdout']} days, challengers {found['challengers']:g}, days {found['days']:g}"
    parts = [
        f"budget {name}: {each['false_a_year']:.2f} ± {each['false_error']:.2f} false a year of {each['allowed']:.1f} allowed, "
        f"none in {each['years_without']:.0%} of years, power {each['power']:.0%}"
        for name, each in found["budgets"].items()
    ]
    return f"{about}: {'; '.join(parts)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=400)
    years = parser.parse_args().years
    cells = [Cell(*each) for each in product((30, 14), (0.0, 0.97), (0.0, 0.3))]
    with Pool(2) as pool:
        found = []
        for result in pool.imap(partial(measured, years=years), cells):
            found.append(result)
            print(told(result), flush=True)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"years": years, "cells": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
