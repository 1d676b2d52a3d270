"""What one turn of the controller has seen of the world."""

from dataclasses import dataclass, field
from datetime import timedelta

from contract.documents import Check
from release.ledger.entries import PredictionHistogram, State, Traffic


@dataclass(frozen=True)
class Observation:
    ready: dict[str, int]  # digest: servers that answer
    weights: dict[str, int] | None  # in force at the router; None: unknown
    traffic: dict[str, Traffic] | None  # None: unknown
    servers: int  # wanted of a digest that takes traffic
    predictions: dict[str, PredictionHistogram] | None = None  # digest: where its answers lie; None: not asked or not told
    answer: Check | None = None  # to the golden rows, once they were asked
    named: bool = False  # the alias was read back
    recent: Traffic | None = None  # of the live version, within the last hold of its probation
    may_release: bool = True  # the host has not as many releases under way as it may have
    silent_for: timedelta = timedelta(0)  # how long no turn has told anything of the traffic
    broken: dict[str, str] = field(default_factory=dict)  # digest: why no retry can start it
    trouble: tuple[str, ...] = ()  # what else could not be done or told in this turn

    @property
    def troubles(self) -> str:
        """To be put at the end of a sentence."""
        return f" ({'; '.join(self.trouble)})" if self.trouble else ""


def is_unknown(state: State, seen: Observation) -> bool:
    """Whether a turn tells nothing of the traffic: silence is not good news, and neither are right answers without latencies."""
    if seen.traffic is None or seen.weights != state.weights:
        return True
    counted = (traffic for digest, traffic in seen.traffic.items() if digest in state.weights)
    return any(traffic.requests > traffic.errors + traffic.client_errors and not traffic.latency for traffic in counted)
