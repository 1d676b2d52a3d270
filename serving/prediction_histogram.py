"""Histogram of predictions: two versions with the same distribution of answers fill the same bins."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from serving.model import Answer, Description, Label

SHARES = 20  # bins of a probability
LABELS = 100  # with a bin of their own; the rest share one
OTHER = "other"
AT_ONCE = 4096  # answers are binned in batches: numpy is fast on many and slow on one

_STEPS = [f"{digit}e{power:+03d}" for power in range(-300, 301) for digit in (1, 2, 5)]  # a regression has any scale
_SIZES = ("0", *_STEPS)
_EDGES = np.array(_STEPS, dtype=np.float64)

Counts = dict[str, int]


class PredictionCounter:
    """`squares` is the sum of each request's rows squared: rows of one request may be correlated, requests are independent."""

    def __init__(self, description: Description):
        self.squares = 0
        self._rows: Counter[str] = Counter()
        self._pending: list[Any] = []
        self._is_binary = description.task == "binary"
        self._counts = _counts_of(description)

    def count(self, answer: Answer) -> None:
        self.squares += len(answer.predictions) ** 2
        self._pending += [both[1] for both in answer.probabilities or ()] if self._is_binary else answer.predictions
        if len(self._pending) >= AT_ONCE:
            self._flush()

    def rows(self) -> Counts:
        """Bin → rows answered. A numeric bin is named by its edge nearer to 0."""
        self._flush()
        return dict(sorted(self._rows.items()))

    def _flush(self) -> None:
        self._rows.update(self._counts(self._pending))
        self._pending.clear()


def _counts_of(description: Description) -> Callable[[Sequence[Any]], Counts]:
    if description.task == "binary":
        return _by_share
    if description.labels is None:
        return _by_size
    return partial(_by_label, frozenset(sorted(map(str, description.labels))[:LABELS]))


def _by_share(probabilities: Sequence[float]) -> Counts:
    bins = np.minimum((np.array(probabilities) * SHARES).astype(np.int64), SHARES - 1)
    return {f"{index / SHARES:.2f}": number for index, number in enumerate(np.bincount(bins).tolist()) if number}


def _by_label(named: frozenset[str], labels: Sequence[Label]) -> Counts:
    counts: Counter[str] = Counter()
    for label, number in Counter(map(str, labels)).items():
        counts[label if label in named else OTHER] += number
    return counts


def _by_size(numbers: Sequence[float]) -> Counts:
    values = np.array(numbers, dtype=np.float64)
    sizes = np.searchsorted(_EDGES, np.abs(values), side="right")
    bins, counts = np.unique(np.where(values < 0, -sizes, sizes), return_counts=True)
    pairs = zip(bins.tolist(), counts.tolist(), strict=True)
    return {f"{'-' if index < 0 else ''}{_SIZES[abs(index)]}": number for index, number in pairs}
