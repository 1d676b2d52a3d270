"""Where the answers lie, counted by bin: two versions that answer alike fill the same bins."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from serving.model import Answer, Description, Label

SHARES = 20  # bins of a probability
LABELS = 100  # told by name; the rest are one bin
OTHER = "other"
AT_ONCE = 4096  # numpy is quick on many answers and slow on one, so they wait for each other

_STEPS = [f"{digit}e{power:+03d}" for power in range(-300, 301) for digit in (1, 2, 5)]  # a regression has any scale
_SIZES = ("0", *_STEPS)
_EDGES = np.array(_STEPS, dtype=np.float64)

Counts = dict[str, int]


class PredictionCounter:
    """`squares` is the sum of each request's rows squared: rows of one request may hang together, requests do not."""

    def __init__(self, description: Description):
        self.squares = 0
        self._rows: Counter[str] = Counter()
        self._waiting: list[Any] = []
        self._is_binary = description.task == "binary"
        self._counts = _counts_of(description)

    def count(self, answer: Answer) -> None:
        self.squares += len(answer.predictions) ** 2
        self._waiting += [both[1] for both in answer.probabilities or ()] if self._is_binary else answer.predictions
        if len(self._waiting) >= AT_ONCE:
            self._sort_in()

    def rows(self) -> Counts:
        """Bin → rows answered. A numeric bin is named by its end that is nearer to 0."""
        self._sort_in()
        return dict(sorted(self._rows.items()))

    def _sort_in(self) -> None:
        self._rows.update(self._counts(self._waiting))
        self._waiting.clear()


def _counts_of(description: Description) -> Callable[[Sequence[Any]], Counts]:
    if description.task == "binary":
        return _by_share
    if description.labels is None:
        return _by_size
    return partial(_by_label, frozenset(sorted(map(str, description.labels))[:LABELS]))


def _by_share(probabilities: Sequence[float]) -> Counts:
    places = np.minimum((np.array(probabilities) * SHARES).astype(np.int64), SHARES - 1)
    return {f"{place / SHARES:.2f}": number for place, number in enumerate(np.bincount(places).tolist()) if number}


def _by_label(named: frozenset[str], labels: Sequence[Label]) -> Counts:
    counts: Counter[str] = Counter()
    for label, number in Counter(map(str, labels)).items():
        counts[label if label in named else OTHER] += number
    return counts


def _by_size(numbers: Sequence[float]) -> Counts:
    values = np.array(numbers, dtype=np.float64)
    sizes = np.searchsorted(_EDGES, np.abs(values), side="right")
    places, counts = np.unique(np.where(values < 0, -sizes, sizes), return_counts=True)
    pairs = zip(places.tolist(), counts.tolist(), strict=True)
    return {f"{'-' if place < 0 else ''}{_SIZES[abs(place)]}": number for place, number in pairs}
