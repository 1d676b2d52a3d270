"""Label leakage: features that predict the label almost perfectly alone, mostly as they were recorded after it was known."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from contract.spec import ModelSpec

ALMOST = 0.999  # share of the rows separated, or of the label's variance explained
OF_MISSES = 0.99  # share of the majority class's errors that the feature avoids
ROWS_PER_LEVEL = 10  # with fewer, a column is an identifier, not a category
ENOUGH = 200_000  # rows
CELLS = 10_000_000  # of 8 bytes each in the driver's Python: of a thousand features, 10,000 rows
FEWEST = 100  # rows of a class: with fewer, separation may be chance

Sample = Mapping[str, np.ndarray]  # by column


def sampled(train: DataFrame, spec: ModelSpec, rows: int) -> Sample:
    """Of at most about ENOUGH rows the label, all numbers, NaN for null, and the categories to examine; names by their hashes."""
    numeric, categorical = spec.examples.numeric, _examined(spec)[1]
    enough = min(ENOUGH, CELLS // (1 + len(numeric) + len(categorical)))
    label = spec.examples.label
    hashed = {*categorical, *([label] if spec.task == "multiclass" else [])}
    columns = [F.xxhash64(name).alias(name) if name in hashed else F.col(name) for name in (label, *numeric, *categorical)]
    sample: Any = (train if rows <= enough else train.sample(enough / rows, seed=1)).select(*columns).toPandas()
    return {name: sample[name].to_numpy() for name in sample}  # pandas has no type hints here


def _examined(spec: ModelSpec) -> tuple[list[str], list[str]]:
    """Features not in allow_leakage; numeric ones are not checked for multiclass, categorical ones not for regression."""
    allowed = spec.examples.allow_leakage
    numeric = [name for name in spec.examples.numeric if name not in allowed and spec.task != "multiclass"]
    return numeric, [name for name in spec.examples.categorical if name not in allowed and spec.task != "regression"]


def leaks(sample: Sample, spec: ModelSpec) -> list[str]:
    """One line per leaking feature. `sample`: of training rows, by `sampled`."""
    numeric, categorical = _examined(spec)
    find = _explaining if spec.task == "regression" else _separating
    reasons = [*find(sample, spec.examples.label, numeric), *_telling(sample, spec.examples.label, categorical)]
    return [f"{name} {reason}; if that is intended, name it in examples.allow_leakage" for name, reason in reasons]


def _explaining(sample: Sample, label: str, names: list[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        known = ~np.isnan(sample[name])
        explained = _squared_correlation(sample[name][known], sample[label][known])
        if known.sum() >= FEWEST and explained >= ALMOST:
            yield name, f"explains {explained:.2%} of {label}"


def _squared_correlation(feature: np.ndarray, label: np.ndarray) -> float:
    """0 where either does not vary or is not finite."""
    with np.errstate(all="ignore"):
        x, y = (values - values.mean() if len(values) else values for values in (feature, label))
        return float(np.nan_to_num((x @ y) ** 2 / ((x @ x) * (y @ y))))


def _separating(sample: Sample, label: str, names: list[str]) -> Iterator[tuple[str, str]]:
    classes = [sample[label] == value for value in (0, 1)]
    if min(rows.sum() for rows in classes) < FEWEST:
        return
    for name in names:
        if _separates(*(sample[name][rows] for rows in classes)):
            yield name, f"separates {label} 0 from 1 in {ALMOST:.1%} of the rows"


def _separates(*by_class: np.ndarray) -> bool:
    """By which rows have the feature at all, or by its outer quantiles (1 − ALMOST, ALMOST) in each class."""
    least, most = sorted(float(np.isnan(values).mean()) for values in by_class)
    if least <= 1 - ALMOST and most >= ALMOST:
        return True
    if most > 1 - ALMOST:
        return False
    (low_0, high_0), (low_1, high_1) = (np.nanquantile(values, [1 - ALMOST, ALMOST], method="inverted_cdf") for values in by_class)
    return bool(high_0 < low_1 or high_1 < low_0)


def _telling(sample: Sample, label: str, names: list[str]) -> Iterator[tuple[str, str]]:
    classes, of_class = np.unique(sample[label], return_inverse=True)
    rows = len(of_class)
    guessed_wrong = rows - np.bincount(of_class).max(initial=0)
    for name in names:
        levels, of_level = np.unique(sample[name], return_inverse=True)
        pairs, counts = np.unique(of_level * len(classes) + of_class, return_counts=True)
        right = np.zeros(len(levels), dtype=int)
        np.maximum.at(right, pairs // max(1, len(classes)), counts)
        enough = guessed_wrong >= FEWEST and rows >= ROWS_PER_LEVEL * len(levels)
        if enough and rows - right.sum() <= (1 - OF_MISSES) * guessed_wrong:
            yield name, f"predicts {label} in {right.sum() / rows:.2%} of the rows"
