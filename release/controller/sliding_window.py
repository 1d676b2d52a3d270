"""What the router has counted of a live version within the last moments, beside what it has counted in all."""

from collections import deque
from datetime import datetime, timedelta

from release.decisions.canary_analysis import since
from release.ledger.entries import Traffic

Looks = deque[tuple[datetime, Traffic]]


class Recent:
    """In memory: after a restart of the controller a window begins anew."""

    def __init__(self) -> None:
        self._looks: dict[str, tuple[str, Looks]] = {}

    def traffic(self, model: str, digest: str, told: Traffic, window: timedelta, now: datetime) -> Traffic | None:
        """Since the last look that is as old as the window, or the first one there is; None where a counter began anew."""
        of, looks = self._looks.get(model, ("", Looks()))
        if of != digest:
            looks = Looks()
        looks.append((now, told))
        while len(looks) > 1 and looks[1][0] <= now - window:
            looks.popleft()
        found = since(told, looks[0][1])
        self._looks[model] = digest, looks if found else Looks()
        return found
