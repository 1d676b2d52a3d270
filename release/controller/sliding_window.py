"""Traffic of a live version within a sliding window, from the router's cumulative counters."""

from collections import deque
from datetime import datetime, timedelta

from release.decisions.canary_analysis import since
from release.ledger.entries import Traffic

Samples = deque[tuple[datetime, Traffic]]


class SlidingWindow:
    """In memory: a restart of the controller restarts the window."""

    def __init__(self) -> None:
        self._samples: dict[str, tuple[str, Samples]] = {}

    def traffic(self, model: str, digest: str, counted: Traffic, window: timedelta, now: datetime) -> Traffic | None:
        """Since the newest sample that is as old as the window, or the oldest one; None where a counter was reset."""
        of, samples = self._samples.get(model, ("", Samples()))
        if of != digest:
            samples = Samples()
        samples.append((now, counted))
        while len(samples) > 1 and samples[1][0] <= now - window:
            samples.popleft()
        in_window = since(counted, samples[0][1])
        self._samples[model] = digest, samples if in_window else Samples()
        return in_window
