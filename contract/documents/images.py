"""What packaging, check and release leave behind."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from contract.base_model import Strict, Versioned, refuse_newer

LABELS_FORMAT = 1  # of an image's labels; rises as that of a document does
FORMAT, RUN, ANCHOR = "retraining.format", "retraining.run", "retraining.anchor"


class Image(Versioned):
    """An OCI image of one version; `reference` is repository@digest.

    Its labels are read by `label` only, which raises TooNew for those of a later format.
    """

    model: str
    version: int
    as_of: datetime
    digest: str
    reference: str
    size: int
    labels: dict[str, str]

    @property
    def run_id(self) -> str:
        return self.label(RUN)

    @property
    def anchor(self) -> int | None:
        anchor = self.label(ANCHOR)
        return int(anchor) if anchor else None

    def label(self, name: str) -> str:
        refuse_newer("Labels of an image", int(self.labels.get(FORMAT, LABELS_FORMAT)), LABELS_FORMAT)
        return self.labels.get(name, "")


class ReplayResult(Strict):
    """Recent live requests, answered by both versions before the new one takes traffic.

    `changed_share` is the share of rows whose answer differs by more than 1e-6; `mean_difference` and `largest_difference` of the
    answers are in probability, or in the label's unit.
    """

    requests: int
    rows: int
    refused: int = Field(description="requests that the live version answers and the new one does not")
    changed_share: float | None = None
    mean_difference: float | None = None
    largest_difference: float | None = None
    p95_ms: float | None = None
    p95_ms_live: float | None = None
    problem: str = Field("", description="why nothing could be replayed; the check does not depend on it")


class Check(Versioned):
    """The digest, started alone and queried with the golden rows."""

    digest: str
    passed: bool
    reason: str
    parity: float | None = Field(None, description="largest relative difference from Spark's answers")
    p95_ms: float | None = None
    memory_mb: float | None = None
    replay: ReplayResult | None = None


class StepReport(Strict):
    """One canary step as the router saw the new version."""

    percent: int
    seconds: float
    requests: int
    errors: int
    p95_ms: float | None
    drift: float | None = Field(None, description="share of predictions outside the old version's distribution")
    drift_by_chance: float | None = Field(None, description="drift that chance may explain with so few answers, one-sided 99 %")
    thin_traffic: bool = False


class Release(Versioned):
    digest: str
    previous: str | None
    outcome: Literal["released", "rolled_back", "refused"]
    reason: str
    steps: tuple[StepReport, ...] = ()
