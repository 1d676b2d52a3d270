"""The last requests, kept in memory so that the next version can be tried on them; only if the environment asks for it."""

from collections import deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from time import monotonic
from typing import Self

import msgspec

from serving.columns import Row
from serving.errors import CannotServe

PAUSE_S = 0.005  # between two kept requests: a few of a burst are enough, and encoding all would delay its clients
LARGEST = 64 * 1024  # bytes of a request that is kept
TOTAL = 4 * 1024 * 1024  # bytes of all kept requests: the oldest are dropped first

_encode = msgspec.json.Encoder().encode


class RequestBuffer:
    """Each request as JSON, its masked values as null: those are kept nowhere."""

    def __init__(self, capacity: int, masked: frozenset[str]):
        self._capacity = capacity
        self._masked = masked
        self._requests: deque[bytes] = deque()
        self._bytes = 0
        self._not_before = 0.0
        self._masked_positions = lru_cache(maxsize=64)(self._find_masked_positions)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], columns: Sequence[str]) -> Self | None:
        """None without REPLAY_REQUESTS. Raises CannotServe for a mask that would hide nothing."""
        capacity = environment.get("REPLAY_REQUESTS")
        if capacity is None:
            return None
        if not capacity.isdecimal() or int(capacity) == 0:
            raise CannotServe(f"REPLAY_REQUESTS is {capacity[:100]!r}; set it to an integer from 1 on.")
        masked = frozenset(filter(None, environment.get("REPLAY_MASK", "").split(",")))
        unknown = sorted(masked.difference(columns))
        if unknown:
            raise CannotServe(
                f"REPLAY_MASK names {', '.join(unknown)[:200]}; this model has the columns {', '.join(columns)} only."
            )
        return cls(int(capacity), masked)

    def keep(self, names: tuple[str, ...], rows: Sequence[Row]) -> None:
        now = monotonic()
        if now < self._not_before:
            return
        self._not_before = now + PAUSE_S
        positions = self._masked_positions(names)
        if positions:
            masked = [list(row) for row in rows]
            for row in masked:
                for position in positions:
                    row[position] = None
            rows = masked
        request = _encode({"columns": names, "rows": rows})
        if len(request) > LARGEST:
            return
        self._requests.append(request)
        self._bytes += len(request)
        while len(self._requests) > self._capacity or self._bytes > TOTAL:
            self._bytes -= len(self._requests.popleft())

    def page(self) -> bytes:
        """The newest comes last."""
        return b'{"requests":[' + b",".join(self._requests) + b"]}"

    def _find_masked_positions(self, names: tuple[str, ...]) -> list[int]:
        return [position for position, name in enumerate(names) if name in self._masked]
