"""What the router has counted of a live version within the last moments, beside what it has counted in all."""

from collections import deque
from datetime import datetime, timedelta

from release.decisions.canary_analysis import since
from release.ledger.entries import Traffic

Samples = deque[tuple[datetime, Traffic]]


class SlidingWindow:
    """In memory: after a restart of the controller a window begins anew."""

    def __init__(self) -> None:
        self._samples: dict[str, tuple[str, Samples]] = {}

    def traffic(self, model: str, digest: str, counted: Traffic, window: timedelta, now: datetime) -> Traffic | None:
        """Since the last look that is as old as the window, or the first one there is; None where a counter began anew."""
        of, samples = self._samples.get(model, ("", Samples()))
        if of != digest:
            samples = Samples()
        samples.append((now, counted))
        while len(samples) > 1 and samples[1][0] <= now - window:
            samples.popleft()
        in_window = since(counted, samples[0][1])
        self._samples[model] = digest, samples if in_window else Samples()
        return in_window
