"""What one reconciliation has observed of a model's servers, traffic and alias."""

from dataclasses import dataclass, field
from datetime import timedelta

from contract.documents import Check
from release.ledger.entries import PredictionHistogram, State, Traffic


@dataclass(frozen=True)
class Observation:
    ready: dict[str, int]  # digest: servers that answer
    weights: dict[str, int] | None  # in force at the router; None: unknown
    traffic: dict[str, Traffic] | None  # None: unknown
    servers: int  # expected of a digest that takes traffic
    predictions: dict[str, PredictionHistogram] | None = None  # by digest; None: not read
    answer: Check | None = None  # result of the golden rows, once there
    alias_confirmed: bool = False  # the alias was read back
    recent: Traffic | None = None  # of the live version, within the last hold of its probation
    may_release: bool = True  # fewer than max_parallel releases of other models are in work
    silent_for: timedelta = timedelta(0)  # time since the traffic was last known
    broken: dict[str, str] = field(default_factory=dict)  # digest: why no retry can start it
    trouble: tuple[str, ...] = ()  # other errors of this reconciliation

    @property
    def troubles(self) -> str:
        """In brackets, for the end of a sentence; empty without any."""
        return f" ({'; '.join(self.trouble)})" if self.trouble else ""


def known_traffic(state: State, seen: Observation) -> dict[str, Traffic] | None:
    """By digest; None without counters, with other weights than the ledger's, or for successful requests without latencies."""
    if seen.traffic is None or seen.weights != state.weights:
        return None
    counted = (traffic for digest, traffic in seen.traffic.items() if digest in state.weights)
    if any(traffic.requests > traffic.errors + traffic.client_errors and not traffic.latency for traffic in counted):
        return None
    return seen.traffic
