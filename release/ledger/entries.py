"""Models of the ledger's entries: the whole state of one model after each, with its requests (requests.py) and their outcomes."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from contract.base_model import Strict, Versioned
from contract.documents import Check, Image, Release, StepReport
from contract.paths import Digest
from contract.serving import Serving
from release.ledger.requests import CheckRequest, Queued, ReleaseRequest, RollbackRequest

OUTCOMES_KEPT = 20  # in each entry; older ones are found in the entries that appended them


class Outcome(Versioned):
    """How a request ended; `done` is False where it was refused, failed or rolled back."""

    request: str
    kind: str
    done: bool
    reason: str
    check: Check | None = None
    release: Release | None = None


class PredictionHistogram(Strict):
    """Answered rows by bin; `squares` is the sum of each request's rows squared."""

    rows: dict[str, int] = {}
    squares: int = 0

    @property
    def total(self) -> int:
        return sum(self.rows.values())

    @property
    def independent(self) -> float:
        """Effective sample size if the rows of one request are all alike (Kish 1965)."""
        return self.total**2 / self.squares


class Traffic(Strict):
    """The router's counters for one digest since it started; all numbers only grow, until a restart resets them.

    `errors` are 5xx, closed connections and time-outs; `client_errors` are 4xx without 499, which is an error.
    `latency` is a histogram: (upper bound in seconds, requests at or below it), rising; the last bound is infinite.
    """

    requests: int = 0
    errors: int = 0
    client_errors: int = 0
    latency: tuple[tuple[float, int], ...] = ()


class AnalysisWindow(Strict):
    """Start of a step's analysis, and the router's counters by digest at that time."""

    since: datetime
    traffic: dict[str, Traffic]
    predictions: dict[str, PredictionHistogram] = Field({}, description="prediction histograms by digest at that time")
    restarts: int = Field(0, description="how often the router's counters were reset in this step")


class BasePhase(Strict):
    """A request in work. `image` is to become live: the request's own, or the previous one for a rollback."""

    request: CheckRequest | ReleaseRequest | RollbackRequest = Field(discriminator="kind")
    image: Image
    since: datetime
    percent: int = 0
    steps: tuple[StepReport, ...] = ()

    @classmethod
    def after(cls, phase: "BasePhase", now: datetime, **fields: Any) -> Self:
        """The same request in its next phase, with the fields that a newer version of this project stored in it."""
        carried = {name: getattr(phase, name) for name in BasePhase.model_fields}
        return cls(**carried | {"since": now} | fields)._with_fields_of(phase)


class Starting(BasePhase):
    phase: Literal["starting"] = "starting"


class Checking(BasePhase):
    """The golden rows are sent to a server without traffic."""

    phase: Literal["checking"] = "checking"
    request: CheckRequest


class Shifting(BasePhase):
    """`analysis` is that of the step before."""

    phase: Literal["shifting"] = "shifting"
    analysis: AnalysisWindow | None = None


class Analyzing(BasePhase):
    phase: Literal["analyzing"] = "analyzing"
    request: ReleaseRequest
    analysis: AnalysisWindow


class Probing(BasePhase):
    """Too little traffic for a judgement: the golden rows are sent while it is analyzed on."""

    phase: Literal["probing"] = "probing"
    request: ReleaseRequest
    analysis: AnalysisWindow


class Promoting(BasePhase):
    """`analysis` is that of the last step; None for a rollback."""

    phase: Literal["promoting"] = "promoting"
    analysis: AnalysisWindow | None = None


class RollingBack(BasePhase):
    phase: Literal["rolling_back"] = "rolling_back"
    reason: str


Active = Annotated[
    Starting | Checking | Shifting | Analyzing | Probing | Promoting | RollingBack,
    Field(discriminator="phase"),
]


class Probation(Strict):
    """After a release its version is judged by `serving`'s limits on the requests counted after `traffic`.

    `old_version` is the old version's traffic during the release: the new one's 4xx rate is compared with its.
    """

    release: str = Field(description="the request")
    since: datetime
    until: datetime
    serving: Serving
    traffic: Traffic
    old_version: Traffic


class Quarantined(Strict):
    """A version that was rolled back: neither checked nor released again before an unquarantine."""

    image: Image
    why: str


class State(Strict):
    """The desired state of one model. `live` stays the old version until a release has ended well: it is the fallback."""

    live: Image | None = None
    previous: Image | None = Field(None, description="to go back to; kept warm during the probation of what is live")
    probation: Probation | None = None
    quarantined: tuple[Quarantined, ...] = ()
    rollbacks: tuple[datetime, ...] = Field((), description="when, within the last week")
    checked: Image | None = Field(None, description="passed its check, kept warm for its release")
    active: Active | None = None
    queue: tuple[Queued, ...] = ()
    frozen: str = Field("", description="why nothing may be released; empty: not frozen")
    pinned: str = Field("", description="why only the live version may be live; empty: not pinned")
    outcomes: tuple[Outcome, ...] = ()

    @property
    def weights(self) -> dict[str, int]:
        """Percent of the traffic by digest; empty means that the model answers 503."""
        old = {self.live.digest: 100} if self.live else {}
        if self.active is None or self.active.percent == 0 or isinstance(self.active, RollingBack):
            return old
        new = {self.active.image.digest: self.active.percent}
        rest = 100 - self.active.percent
        return new | {digest: rest for digest in old if rest and digest not in new}

    def outcome(self, request_id: str) -> Outcome | None:
        return next((outcome for outcome in self.outcomes if outcome.request == request_id), None)

    def quarantine_of(self, digest: str) -> Quarantined | None:
        return next((entry for entry in self.quarantined if entry.image.digest == digest), None)

    def waits(self, request_id: str) -> bool:
        """Whether the request is in the queue or in work."""
        active = (self.active.request,) if self.active else ()
        return any(request.id == request_id for request in (*active, *self.queue))


class Draft(Versioned):
    """An entry before it has a number and a time.

    `outcomes` are those of the requests that it ends. `backward`: part of a rollback, may take effect before it is recorded.
    `notification` is for the model's owners where no task of a run waits for an outcome; empty: there is none.
    """

    who: str
    why: str
    what: str
    state: State
    outcomes: tuple[Outcome, ...] = ()
    backward: bool = False
    notification: str = ""


class Entry(Draft):
    """`previous` is the id of entry n - 1."""

    n: int
    id: str
    previous: str | None
    time: datetime


def version_name(image: Image | None) -> str:
    if image is None:
        return "no version"
    return f"version {image.version} ({Digest(image.digest).short})"
