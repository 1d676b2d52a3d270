"""The fits of a search: every combination of a grid, or draws from lists and distributions."""

from itertools import product
from math import floor
from random import Random
from typing import Any, NamedTuple

from contract.algorithms import PARAMS, AlgorithmName, Kind, length_of
from contract.base_model import Scalar
from contract.search import Distribution, Search
from contract.spec import ModelSpec
from spark_jobs.training.estimators import with_bins

DRAWS = 50  # at most so many for each candidate that is wanted: a small space may hold fewer different ones


class FitPlan(NamedTuple):
    """One fit. With `lengths` it is boosted to the longest, and each length is a candidate."""

    params: dict[str, Any]
    lengths: tuple[int, ...] = ()


def search_of(spec: ModelSpec) -> Search:
    if spec.algorithm.search is None:
        raise ValueError(f"{spec.name} has no algorithm.search")
    return spec.algorithm.search


def plans_of(spec: ModelSpec, levels: int, seed: int) -> list[FitPlan]:
    """Candidates that differ only in the length of boosting share one plan."""
    name, fixed, search = spec.algorithm.name, spec.algorithm.params, search_of(spec)
    space, length = search.space, length_of(spec.algorithm.name)
    lengths = lengths_in(space.pop(length)) if length and isinstance(space.get(length), tuple) else ()
    longest = {length: lengths[-1]} if length and lengths else {}
    combined = combinations(space) if search.method == "grid" else draws(space, name, search.max_candidates or 1, seed)
    return [FitPlan(with_bins(name, {**fixed, **params, **longest}, levels), lengths) for params in combined]


def lengths_in(values: Any) -> tuple[int, ...]:
    return tuple(sorted({int(number) for number in values}))


def combinations(space: dict[str, Any]) -> list[dict[str, Scalar]]:
    return [dict(zip(space, values, strict=True)) for values in product(*space.values())]


def draws(
    space: dict[str, tuple[Scalar, ...] | Distribution], name: AlgorithmName, count: int, seed: int
) -> list[dict[str, Scalar]]:
    """At most `count` different ones, the same for each attempt with this seed."""
    random, different = Random(seed), dict[tuple[Scalar, ...], dict[str, Scalar]]()  # noqa: S311  (no secret)
    for _ in range(DRAWS * count):
        params = {param: drawn(values, PARAMS[name][param], random) for param, values in space.items()}
        different.setdefault(tuple(params.values()), params)
        if len(different) == count:
            break
    return list(different.values())


def drawn(values: tuple[Scalar, ...] | Distribution, kind: Kind, random: Random) -> Scalar:
    if isinstance(values, tuple):
        return random.choice(values)
    low, high, whole = values.low, values.high, kind is not float
    end, position = high + whole, random.random()  # each whole number stands for what lies between it and the next
    number = low * (end / low) ** position if values.log else low + (end - low) * position
    return min(floor(number), int(high)) if whole else min(number, high)
