"""A store whose calls have a time limit: a rollback must not wait for a bucket that does not answer."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from contract.errors import StoreError
from contract.store.base import DocumentStore

LIMIT_S = 3.0

Result = TypeVar("Result")


class BoundedStore:
    """Each call has `limit_s`; while one hangs beyond that, the next ones fail at once. A hanging write may still succeed."""

    def __init__(self, store: DocumentStore, limit_s: float = LIMIT_S) -> None:
        self.root = store.root
        self._store = store
        self._limit_s = limit_s
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._hanging: Future[Any] | None = None

    def create(self, path: str, content: bytes) -> bool:
        return self._within(lambda: self._store.create(path, content))

    def read(self, path: str) -> bytes | None:
        return self._within(lambda: self._store.read(path))

    def names(self, folder: str) -> list[str]:
        return self._within(lambda: self._store.names(folder))

    def _within(self, call: Callable[[], Result]) -> Result:
        if self._hanging and not self._hanging.done():
            raise self._silent()
        future = self._executor.submit(call)
        try:
            return future.result(self._limit_s)
        except TimeoutError:
            self._hanging = future
            raise self._silent() from None

    def _silent(self) -> StoreError:
        return StoreError(f"the store {self.root} has not answered for {self._limit_s:g} s or more; see that it can be reached")
