import time
from functools import partial
from pathlib import Path
from threading import Event

import pytest

from contract.errors import StoreError
from contract.store.local import LocalStore
from release.controller.bounded_store import BoundedStore
from tests.waiting import until


class Hanging(LocalStore):
    """Answers nothing while `mute`."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.heard = Event()
        self.heard.set()

    def create(self, path: str, content: bytes) -> bool:
        self.heard.wait(10)
        return super().create(path, content)


def read(store: BoundedStore) -> bytes | None:
    try:
        return store.read("late")
    except StoreError:
        return None


def test_what_answers_is_passed_on(tmp_path: Path):
    store = BoundedStore(LocalStore(str(tmp_path)))
    assert store.create("a/b", b"1")
    assert not store.create("a/b", b"2")
    assert (store.read("a/b"), store.read("a/c"), store.names("a")) == (b"1", None, ["b"])


def test_what_hangs_fails_in_time_the_next_calls_at_once_and_then_all_is_well_again(tmp_path: Path):
    slow = Hanging(str(tmp_path))
    store = BoundedStore(slow, limit_s=0.2)
    slow.heard.clear()
    begun = time.monotonic()
    with pytest.raises(StoreError, match=r"has not answered for 0\.2 s or more"):
        store.create("late", b"1")
    for _ in range(100):
        with pytest.raises(StoreError):
            store.read("late")
    assert time.monotonic() - begun < 1
    slow.heard.set()
    assert until(partial(read, store), "what hung came to be", seconds=10) == b"1"
