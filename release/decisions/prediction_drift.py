"""Whether the predictions of two versions are distributed differently, and by more than chance explains. Pure.

The distributions truly differ by more than `limit`, at one-sided 99 %, where `share - noise > limit`.
"""

import math
from collections import Counter
from typing import NamedTuple

from release.ledger.entries import PredictionHistogram

DRIFT_ALPHA = 0.01  # one-sided: probability that the share passes the noise where nothing differs


class Drift(NamedTuple):
    """`share` is the total variation distance of the predictions; `noise` the part of it that chance explains."""

    share: float
    noise: float


def drift(new: PredictionHistogram, old: PredictionHistogram) -> Drift | None:
    """The total variation distance, half the sum of |p - q| over the bins.

    Noise is its expectation where nothing differs, as if each |p - q| were half-normal, and how far it then strays above that:
    one request changes it by at most its share of the rows (McDiarmid 1989, On the method of bounded differences).
    """
    if not new.squares or not old.squares:
        return None
    n, m = new.independent, old.independent
    variance = 1 / n + 1 / m
    share = expected = 0.0
    for bin_name in new.rows.keys() | old.rows.keys():
        p, q = (histogram.rows.get(bin_name, 0) / histogram.total for histogram in (new, old))
        both = (n * p + m * q) / (n + m)
        share += abs(p - q) / 2
        expected += math.sqrt(2 / math.pi * both * (1 - both) * variance) / 2
    return Drift(share, expected + math.sqrt(math.log(1 / DRIFT_ALPHA) / 2 * variance))


def add(one: PredictionHistogram, other: PredictionHistogram) -> PredictionHistogram:
    return PredictionHistogram(rows=Counter(one.rows) + Counter(other.rows), squares=one.squares + other.squares)


def since(now: PredictionHistogram, before: PredictionHistogram) -> PredictionHistogram | None:
    """None if the counts were reset in between."""
    rows = {bin_name: now.rows.get(bin_name, 0) - before.rows.get(bin_name, 0) for bin_name in {**before.rows, **now.rows}}
    squares = now.squares - before.squares
    if min(squares, *rows.values(), 0) < 0:
        return None
    return PredictionHistogram(rows={bin_name: number for bin_name, number in rows.items() if number}, squares=squares)
