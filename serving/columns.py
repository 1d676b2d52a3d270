"""The rows of a request → the tensors of the graph, refusing by name what does not fit."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from types import NoneType
from typing import Any, NamedTuple

import numpy as np

from serving.errors import RequestRefused

NULL = "\ue000null"  # stands for a missing category in the graph's input
NUMBER: frozenset[type] = frozenset({float, int, bool, NoneType})  # true counts as 1, as a boolean column does in Spark
TEXT: frozenset[type] = frozenset({str, NoneType})
SHOWN = 5  # problems listed in one message
JSON_NAMES = {str: "a string", dict: "an object", list: "an array", NoneType: "null"}

Row = Sequence[Any]
Pick = Callable[[Row], Row]


class TensorLayout(NamedTuple):
    """Number of values in each row of a request, and getters of the model's numeric and categorical ones."""

    width: int
    numeric: Pick
    categorical: Pick


class Columns:
    """The columns of a model's input. `known`: column → the only levels accepted; columns that are absent there accept any."""

    def __init__(self, numeric: Sequence[str], categorical: Sequence[str], known: Mapping[str, frozenset[str]]):
        self.numeric = tuple(numeric)
        self.categorical = tuple(categorical)
        self.names = self.numeric + self.categorical
        self._name_set = frozenset(self.names)
        self._known = [(self.categorical.index(name), name, levels) for name, levels in known.items()]
        self.layout = lru_cache(maxsize=64)(self._find_layout)  # clients seldom change their order

    def tensors(self, names: tuple[str, ...], rows: Sequence[Row]) -> dict[str, np.ndarray]:
        """`rows` in the order of `names`; None is a missing value."""
        layout = self.layout(names)
        self._check_widths(layout.width, rows)
        numeric = list(map(layout.numeric, rows))
        categorical = list(map(layout.categorical, rows))
        if not (_all_of(NUMBER, numeric) and _all_of(TEXT, categorical)):
            raise self._wrong_types(numeric, categorical)
        for position, name, levels in self._known:
            _check_levels(name, levels, [row[position] for row in categorical])
        feeds = {}
        if self.numeric:
            feeds["numeric"] = self._numbers(numeric)
        if self.categorical:
            categories = [[NULL if level is None else level for level in row] for row in categorical]
            feeds["categorical"] = np.array(categories, dtype=object)
        return feeds

    def rows_of(self, records: Sequence[Mapping[str, Any]]) -> list[Row]:
        """Records as rows in the order of `names`."""
        for record in records:
            if record.keys() != self._name_set:
                self.check(record)
        return [tuple(map(record.__getitem__, self.names)) for record in records]

    def check(self, names: Iterable[str]) -> None:
        """Raises unless these are the model's columns, each once, in whatever order."""
        given = Counter(iter(names))  # a mapping would be taken for counts
        missing = [name for name in self.names if name not in given]
        unknown = [name for name in given if name not in self._name_set]
        twice = [name for name in self.names if given[name] > 1]
        kinds = (("missing", missing), ("unknown", unknown), ("given twice", twice))
        wrong = "; ".join(f"{kind}: {_abbreviated(columns)}" for kind, columns in kinds if columns)
        if wrong:
            raise RequestRefused(f"The columns do not fit ({wrong}); expected {self._expected()}.")

    def _find_layout(self, names: tuple[str, ...]) -> TensorLayout:
        self.check(names)
        positions = {name: position for position, name in enumerate(names)}
        return TensorLayout(len(names), *(_pick([positions[name] for name in group]) for group in (self.numeric, self.categorical)))

    def _check_widths(self, width: int, rows: Sequence[Row]) -> None:
        if set(map(len, rows)) != {width}:
            number, row = next((number, row) for number, row in enumerate(rows) if len(row) != width)
            raise RequestRefused(f"Row {number} has {len(row)} values for {width} columns.")

    def _numbers(self, rows: list[Row]) -> np.ndarray:
        try:
            return np.array(rows, dtype=np.float64)  # None becomes NaN, which the graph takes for missing
        except OverflowError:
            raise self._wrong_types(rows, []) from None

    def _wrong_types(self, numeric: list[Row], categorical: list[Row]) -> RequestRefused:
        groups = ((self.numeric, numeric, NUMBER, "a number"), (self.categorical, categorical, TEXT, "a string"))
        wrong = [
            f"{name} is {_kind_of(values[row])} in row {row} where {expected} or null is expected"
            for names, rows, allowed, expected in groups
            for name, values in zip(names, zip(*rows, strict=True), strict=False)
            if (row := _first_misfit(values, allowed)) is not None
        ]
        return RequestRefused(f"Wrong values: {_abbreviated(wrong, '; ')}.")

    def _expected(self) -> str:
        groups = (("numeric", self.numeric), ("categorical", self.categorical))
        return " and ".join(f"{kind} {', '.join(names)}" for kind, names in groups if names)


def _pick(positions: list[int]) -> Pick:
    if len(positions) > 1:
        return itemgetter(*positions)
    return lambda row: [row[position] for position in positions]  # itemgetter of one position would give a bare value


def _all_of(allowed: frozenset[type], rows: list[Row]) -> bool:
    return allowed.issuperset(map(type, chain.from_iterable(rows)))


def _first_misfit(values: Sequence[Any], allowed: frozenset[type]) -> int | None:
    return next((row for row, value in enumerate(values) if type(value) not in allowed or _is_too_large(value)), None)


def _is_too_large(value: Any) -> bool:
    return type(value) is int and abs(value) > sys.float_info.max


def _kind_of(value: Any) -> str:
    return "too large a number" if _is_too_large(value) else JSON_NAMES.get(type(value), "a number or truth value")


def _check_levels(name: str, levels: frozenset[str], values: list[str | None]) -> None:
    for row, value in enumerate(values):
        if value not in levels:
            given = "null" if value is None else repr(value[:100])
            raise RequestRefused(
                f"{name} is {given} in row {row}, which is none of the {len(levels):,} levels known to this model."
            )


def _abbreviated(items: list[str], separator: str = ", ") -> str:
    shown = [item[:200] for item in items[:SHOWN]]
    return separator.join(shown) + (f"{separator}and {len(items) - SHOWN} more" if len(items) > SHOWN else "")
