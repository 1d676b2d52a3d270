"""Whether two versions' answers lie differently, and by more than chance explains. Pure.

    Spread: what one digest has answered, `since(now, before)` what came since (None: counted anew), `add(one, other)` both.
    drift(new: Spread, old: Spread) -> Drift(share, noise) | None: None where either has answered nothing.

The answers of the two versions truly differ by more than `limit`, at one-sided 99 %, where share - noise > limit.
"""

import math
from collections import Counter
from typing import NamedTuple

from contract.base_model import Strict

CHANCE = 0.01  # one-sided: how often the noise may be passed where nothing differs


class Spread(Strict):
    """Answered rows by bin; `squares` is the sum of each request's rows squared."""

    rows: dict[str, int] = {}
    squares: int = 0

    @property
    def total(self) -> int:
        return sum(self.rows.values())

    @property
    def independent(self) -> float:
        """As how many independent rows these count if those of one request are all alike (Kish 1965, effective sample size)."""
        return self.total**2 / self.squares


class Drift(NamedTuple):
    """`share` of the answers that lie elsewhere, and what of it the `noise` of so few answers may explain."""

    share: float
    noise: float


def drift(new: Spread, old: Spread) -> Drift | None:
    """The total variation distance, half the sum of |p - q| over the bins.

    Noise is its expectation where nothing differs, as if each |p - q| were half-normal, and how far it then strays above that:
    one request changes it by at most its share of the rows (McDiarmid 1989, On the method of bounded differences).
    """
    if not new.squares or not old.squares:
        return None
    n, m = new.independent, old.independent
    variance = 1 / n + 1 / m
    share = expected = 0.0
    for place in new.rows.keys() | old.rows.keys():
        p, q = (spread.rows.get(place, 0) / spread.total for spread in (new, old))
        both = (n * p + m * q) / (n + m)
        share += abs(p - q) / 2
        expected += math.sqrt(2 / math.pi * both * (1 - both) * variance) / 2
    return Drift(share, expected + math.sqrt(math.log(1 / CHANCE) / 2 * variance))


def add(one: Spread, other: Spread) -> Spread:
    return Spread(rows=Counter(one.rows) + Counter(other.rows), squares=one.squares + other.squares)


def since(now: Spread, before: Spread) -> Spread | None:
    """None if the counts began anew in between."""
    rows = {place: now.rows.get(place, 0) - before.rows.get(place, 0) for place in {**before.rows, **now.rows}}
    squares = now.squares - before.squares
    if min(squares, *rows.values(), 0) < 0:
        return None
    return Spread(rows={place: number for place, number in rows.items() if number}, squares=squares)
