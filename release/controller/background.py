"""Slow calls in background threads, so that one slow server or registry does not hold up every model."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from datetime import datetime, timedelta
from typing import Any


class BackgroundCalls:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._under_way: dict[tuple[Any, ...], Future[Any]] = {}

    def result(self, key: tuple[Any, ...], work: Callable[[], Any]) -> Any:
        """None while the call runs; then its result or error, once: the next call with this key starts it again."""
        future = self._under_way.get(key)
        if future is None:
            future = self._under_way[key] = self._executor.submit(work)
        return self._under_way.pop(key).result() if future.done() else None

    def forget(self, key: tuple[Any, ...]) -> None:
        """Drops the result of a running call."""
        self._under_way.pop(key, None)


class ConfirmedEffects:
    """Effects of background calls on other systems, taken as true for VALID_FOR: after that somebody may have changed them."""

    VALID_FOR = timedelta(minutes=5)

    def __init__(self, background: BackgroundCalls) -> None:
        self._background = background
        self._since: dict[tuple[str, ...], tuple[Any, datetime]] = {}

    def is_confirmed(self, what: tuple[str, ...], expected: Any, work: Callable[[], Any], now: datetime) -> bool:
        """`work` returns True once the effect is confirmed. Raises what `work` has raised; the next call starts it again."""
        known, since = self._since.get(what, (None, now))
        if (known != expected or now - since > self.VALID_FOR) and self._background.result((*what, expected), work):
            self._since[what] = known, _ = expected, now
        return bool(known == expected)
