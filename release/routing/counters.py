"""The router's counters made monotonic: it drops those of a service that leaves its file, and all of them at a restart."""

from collections import defaultdict
from typing import NamedTuple

from release.ledger.entries import Traffic

NONE = Traffic()
DIGESTS_KEPT = 8  # of a model: a release has two


class Count(NamedTuple):
    """`passed` was counted before the last reset, `last` since."""

    passed: Traffic
    last: Traffic

    @property
    def total(self) -> Traffic:
        return add(self.passed, self.last)


class Counters:
    """In memory: after a restart of this process the counts are the router's own."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, Count]] = defaultdict(dict)

    def grown(self, model: str, counted: dict[str, Traffic]) -> dict[str, Traffic]:
        """Total traffic of each digest that the router reports or has reported."""
        counts = self._counts[model]
        for digest in {**counts, **counted}:
            now, (passed, last) = counted.get(digest, NONE), counts.pop(digest, Count(NONE, NONE))
            counts[digest] = Count(add(passed, last) if now.requests < last.requests else passed, now)
        for digest in list(counts)[:-DIGESTS_KEPT]:
            del counts[digest]
        return {digest: count.total for digest, count in counts.items()}


def add(one: Traffic, other: Traffic) -> Traffic:
    """Both have the same bounds, or one has none."""
    latency: dict[float, int] = defaultdict(int)
    for bound, count in (*one.latency, *other.latency):
        latency[bound] += count
    return Traffic(
        requests=one.requests + other.requests,
        errors=one.errors + other.errors,
        client_errors=one.client_errors + other.client_errors,
        latency=tuple(sorted(latency.items())),
    )
