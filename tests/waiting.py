import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(holds: Callable[[], Found], what: str, seconds: float, every_s: float = 0.2) -> Found:
    """The first true answer; asked rarely, for it takes its time from what is waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(every_s)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")
