import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

POLL_S = 2  # how often it is asked whether waiting is in vain


def until(
    holds: Callable[[], Answer], what: str, seconds: float, every_s: float = 0.2, in_vain: Callable[[], str] = lambda: ""
) -> Answer:
    """The first true answer; asked rarely, for it takes its time from what is waited for.

    What `in_vain` says, if anything, ends the waiting: it is the reason why there can be no such answer any more.
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
