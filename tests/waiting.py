import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

POLL_S = 2  # interval of the `in_vain` checks


def until(
    holds: Callable[[], Answer], what: str, seconds: float, every_s: float = 0.2, in_vain: Callable[[], str] = lambda: ""
) -> Answer:
    """The first true value of `holds()`; polled rarely, because polling slows down what is waited for.

    A text from `in_vain()` ends the wait: the reason why `holds()` cannot become true any more.
    """
    end, poll_at = time.monotonic() + seconds, time.monotonic() + POLL_S
    while time.monotonic() < end:
        over = ""
        if time.monotonic() > poll_at:
            over, poll_at = in_vain(), time.monotonic() + POLL_S
        if answer := holds():
            return answer
        if over:
            raise AssertionError(f"never: {what}: {over}")
        time.sleep(every_s)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")
