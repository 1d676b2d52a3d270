"""The last requests, kept in memory so that the next version can be tried on them; only where the image asks for it."""

from collections import deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from time import monotonic
from typing import Self

import msgspec

from serving.columns import Row
from serving.errors import CannotServe

PAUSE_S = 0.005  # from one that is kept to the next: of a burst some are enough, or its clients would wait for the keeping
LARGEST = 64 * 1024  # bytes of a request that is kept
TOTAL = 4 * 1024 * 1024  # of all of them: the oldest go first

_encode = msgspec.json.Encoder().encode


class RequestBuffer:
    """Each as JSON without its masked values: those are kept nowhere."""

    def __init__(self, most: int, masked: frozenset[str]):
        self._most = most
        self._masked = masked
        self._requests: deque[bytes] = deque()
        self._bytes = 0
        self._not_before = 0.0
        self._hidden = lru_cache(maxsize=64)(self._find_hidden)

    @classmethod
    def asked_for(cls, environment: Mapping[str, str], columns: Sequence[str]) -> Self | None:
        """None without REPLAY_REQUESTS. Raises CannotServe for a mask that would hide nothing."""
        most = environment.get("REPLAY_REQUESTS")
        if most is None:
            return None
        if not most.isdecimal() or int(most) == 0:
            raise CannotServe(f"REPLAY_REQUESTS is {most[:100]!r}; a number from 1 on is wanted.")
        masked = frozenset(filter(None, environment.get("REPLAY_MASK", "").split(",")))
        unknown = sorted(masked.difference(columns))
        if unknown:
            raise CannotServe(f"REPLAY_MASK names {', '.join(unknown)[:200]}; this model is asked with {', '.join(columns)} only.")
        return cls(int(most), masked)

    def keep(self, names: tuple[str, ...], rows: Sequence[Row]) -> None:
        now = monotonic()
        if now < self._not_before:
            return
        self._not_before = now + PAUSE_S
        hidden = self._hidden(names)
        if hidden:
            rows = [list(row) for row in rows]
            for row in rows:
                for place in hidden:
                    row[place] = None
        request = _encode({"columns": names, "rows": rows})
        if len(request) > LARGEST:
            return
        self._requests.append(request)
        self._bytes += len(request)
        while len(self._requests) > self._most or self._bytes > TOTAL:
            self._bytes -= len(self._requests.popleft())

    def page(self) -> bytes:
        """The newest comes last."""
        return b'{"requests":[' + b",".join(self._requests) + b"]}"

    def _find_hidden(self, names: tuple[str, ...]) -> list[int]:
        return [place for place, name in enumerate(names) if name in self._masked]
