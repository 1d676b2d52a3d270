"""How often the gate is wrong, by simulation: false promotions at the boundary, and power, of the product's estimator and others.

`python -m benchmarks.gate_errors [--draws 20000]` in Spark's environment; half an hour on two cores. Writes gate_errors.json.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmarks.gate_worlds import BINS, WORLDS, Pair, World, mean_losses, scores
from contract.gate import Gate
from spark_jobs.statistics.jackknife import Blocked, Grouping, improvement, interval, jackknife
from spark_jobs.statistics.metrics import measures_of

OUT = Path(__file__).parent / "results" / "gate_errors.json"
LEVEL, NORMAL = 0.025, stats.norm.ppf(0.975)
BLOCKS = (10, 30, 100)
AHEAD = 4.3  # true standard errors beyond the boundary, where power is measured
RESAMPLES, BOOTSTRAPPED = 200, 1_000  # of a percentile bootstrap, and the pairs that get one
SEED = 20261121


class Metric(NamedTuple):
    """`pairs` draws pairs of models; `margin` is what `better` requires and `not_worse` allows."""

    name: str
    task: str
    lower_is_better: bool
    margin: float
    pairs: Callable[..., Iterator[Pair]]


METRICS = (
    Metric("log_loss", "binary", True, 0.002, partial(mean_losses, tails=np.inf)),
    Metric("auc", "binary", False, 0.005, scores),
    Metric("mae", "regression", True, 0.002, partial(mean_losses, tails=5.0)),
)


class Cell(NamedTuple):
    metric: int
    blocks: int
    world: World
    rule: str


class Decisions(NamedTuple):
    """Whether each rule promotes one pair; `bootstrap` is None where it was not computed."""

    value: float
    gate: bool
    undecided: bool
    at_least: bool
    rowwise: bool
    bootstrap: bool | None


def value_of(metric: Metric) -> Callable[[np.ndarray], float]:
    """The product's function from a sum of statistics to the metric."""
    measure = measures_of([metric.name], metric.task, Gate(metric=metric.name))[metric.name]
    return partial(measure.value, ties=np.zeros(BINS + 1, dtype=bool)) if metric.name == "auc" else measure.value


def judge(pair: Pair, metric: Metric, bar: float, rng: np.random.Generator | None) -> Decisions:
    value = value_of(metric)
    estimate = improvement(jackknife(pair.challenger, value), jackknife(pair.champion, value), metric.lower_is_better)
    bounds = interval([Blocked(estimate, Grouping(pair.rows, True))], LEVEL)
    return Decisions(
        value=estimate.value,
        gate=bounds.low is not None and bounds.low > bar,
        undecided=bounds.low is None,
        at_least=estimate.value >= bar,
        rowwise=estimate.value - NORMAL * pair.rowwise > bar,
        bootstrap=None if rng is None else _bootstrapped(pair, metric, value, rng) > bar,
    )


def _bootstrapped(pair: Pair, metric: Metric, value: Callable[[np.ndarray], float], rng: np.random.Generator) -> float:
    """Lower end of the percentile interval over resampled blocks."""
    blocks, sign = len(pair.rows), -1 if metric.lower_is_better else 1
    weights = rng.multinomial(blocks, np.full(blocks, 1 / blocks), RESAMPLES)
    ours, theirs = (weights @ side for side in (pair.challenger, pair.champion))
    return float(np.quantile([sign * (value(one) - value(other)) for one, other in zip(ours, theirs, strict=True)], LEVEL))


def shares(cell: Cell, ahead: float, draws: int, seed: int) -> dict[str, float]:
    """In percent: how often each rule promotes where the true improvement is `ahead` of the boundary."""
    metric = METRICS[cell.metric]
    bar = metric.margin if cell.rule == "better" else -metric.margin
    rng, decisions = np.random.default_rng(seed + 1), []
    for number, pair in enumerate(metric.pairs(cell.world, cell.blocks, bar + ahead, draws, seed)):
        decisions.append(judge(pair, metric, bar, rng if number < BOOTSTRAPPED else None))
    columns = dict(zip(Decisions._fields, zip(*decisions, strict=True), strict=True))
    percentages = {
        name: 100 * float(np.mean([answer for answer in columns[name] if answer is not None])) for name in Decisions._fields[1:]
    }
    upper = stats.beta.ppf(0.95, sum(columns["gate"]) + 1, draws - sum(columns["gate"]))  # Clopper and Pearson, one-sided
    return {**percentages, "gate_upper": 100 * float(upper), "error": float(np.std(columns["value"]))}


def measured(cell: Cell, draws: int) -> dict[str, object]:
    seed = SEED + 1000 * cell.metric + 10 * cell.blocks + 7 * [world.name for world in WORLDS].index(cell.world.name)
    seed += 500_000 if cell.rule == "not_worse" else 0
    null = shares(cell, 0.0, draws, seed)
    power = shares(cell, AHEAD * null["error"], draws // 10, seed + 3)
    about = {"metric": METRICS[cell.metric].name, "blocks": cell.blocks, "world": cell.world.name, "rule": cell.rule}
    return {**about, "bounded": cell.world.bounded, "false": null, "power": power["gate"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=20_000)
    arguments = parser.parse_args()
    cells = [
        Cell(metric, blocks, world, rule)
        for blocks in reversed(BLOCKS)  # the longest first
        for metric in range(len(METRICS))
        for world in WORLDS
        for rule in ("better", "not_worse")
    ]
    with Pool(2) as pool:
        results = []
        for result in pool.imap_unordered(partial(measured, draws=arguments.draws), cells):
            results.append(result)
            print(summary(result), flush=True)
    OUT.parent.mkdir(exist_ok=True)
    order = sorted(results, key=lambda cell: (cell["metric"], cell["rule"], cell["world"], cell["blocks"]))
    OUT.write_text(json.dumps({"draws": arguments.draws, "cells": order}, indent=1) + "\n")
    worst = max((cell for cell in results if cell["bounded"]), key=lambda cell: cell["false"]["gate_upper"])
    print(f"worst of the bounded cells: {summary(worst)}")


def summary(result: dict) -> str:
    false = result["false"]
    return (
        f"{result['metric']:<9} {result['rule']:<9} {result['world']:<14} {result['blocks']:>3} blocks: false promotions "
        f"{false['gate']:4.1f} % (≤ {false['gate_upper']:4.1f}), undecided {false['undecided']:4.1f}; >= {false['at_least']:4.1f}, "
        f"row-wise t {false['rowwise']:4.1f}, bootstrap {false['bootstrap']:4.1f}; power {result['power']:5.1f} %"
    )


if __name__ == "__main__":
    main()
