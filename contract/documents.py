"""Documents that the steps write: small, frozen, written once. Times are UTC; paths are URIs that readers can open."""

from datetime import datetime
from typing import Any, Literal, Self, TypeVar

from pydantic import Field

from contract.base_model import STORED, Strict, Versioned
from contract.comparison import Interval
from contract.errors import BadData, OutOfMemory, OutOfTime, PermanentError, RetrainingError, StoreError
from contract.metrics import MetricName
from contract.platform import Platform
from contract.spec import ModelSpec
from contract.store.base import DocumentStore


class Champion(Strict):
    """The version that was live, by the ledger, when the run was frozen.

    `anchor` is the last version promoted because it was better, or else the first one: small losses since then must not add up.
    """

    version: int
    digest: str
    as_of: datetime
    anchor: int | None = None


class RunDocument(Versioned):
    """One run, frozen by its first task. Every later step reads only this."""

    model: str
    run_id: str
    folder: str = Field(description="this run's folder in the store")
    clear_number: int
    started: datetime | None = Field(None, description="when Airflow started it; distinguishes runs of one id")
    as_of: datetime
    backfill: bool
    release: bool = Field(True, description="False: the run ends at decide")
    spec: ModelSpec
    spec_hash: str
    sql: str | None
    suites: dict[str, dict[str, Any]] = Field(description="source: its Great Expectations suite")
    platform: Platform
    champion: Champion | None
    evaluations_per_year: float | None = Field(None, description="evaluations a year by the schedule")
    code_hash: str
    url: str = Field("", description="the run in the Airflow UI")

    @property
    def level(self) -> float:
        """Significance level of the gate's test: the probability of a false promotion."""
        return self.spec.gate.level(self.evaluations_per_year)


class JobRequest(Versioned):
    """Input of one Spark job, `run.py JOB --request FILE`, which writes `<job>-<key>.json` into the run's folder."""

    job: Literal["validate", "train", "compare"]
    key: str
    run: RunDocument
    inputs: dict[str, str] = Field({}, description="step: the path of its document in the store")


class StoredSpec(Versioned):
    """The spec that a version was trained with, stored with it: a champion's is read by the rules of its own format."""

    spec: ModelSpec


class DataCheck(Strict):
    """One check of a source."""

    source: str
    name: str
    passed: bool
    detail: str = ""


class Snapshot(Strict):
    """The rows that were checked and are trained on; one Parquet folder per source below `uri`."""

    uri: str
    fingerprint: str
    rows: dict[str, int]
    as_of: datetime
    versions: dict[str, int] = Field({}, description="source: the version of its Delta table that was read")
    sources: dict[str, str] = Field({}, description="source: hash of its lines in the spec; volumes are compared where it is equal")


class ValidationReport(Versioned):
    """Written only when every check passed; a failed report is named in the failure."""

    snapshot: Snapshot
    checks: tuple[DataCheck, ...]
    unlabelled: float = Field(0.0, description="share of the holdout's rows without a label")
    seconds: float


class Training(Versioned):
    """`train_until` is the newest example time the fit, search included, has seen; None for rows without time.

    `folds`: the metrics that guards limit on the walk-forward folds, of models fitted like this one, each to the rows before its
    fold: how good the recipe is over time, not how good this version is.
    """

    mlflow_run: str
    mlflow_url: str
    version: int
    params: dict[str, Any]
    train_rows: int
    holdout_rows: int
    train_until: datetime | None
    folds: dict[MetricName, Interval] = {}
    seconds: dict[str, float] = Field(description="stage: seconds")


class GoldenRows(Versioned):
    """Holdout rows with Spark's own predictions; every image is queried with them before it takes traffic.

    `expected`: per row the probabilities in label order (binary, multiclass) or one number (regression).
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[float | str | None, ...], ...]
    expected: tuple[tuple[float, ...], ...]


ANCHOR = "retraining.anchor"  # image label: the anchor of its version


class Image(Versioned):
    """An OCI image of one version; `reference` is repository@digest."""

    model: str
    version: int
    as_of: datetime
    digest: str
    reference: str
    size: int
    labels: dict[str, str]


class ReplayResult(Strict):
    """Recent live requests, answered by both versions before the new one takes traffic.

    `moved` is the share of rows whose answer differs by more than 1e-6, `mean` and `largest` how far apart the answers are:
    in probability, or in the label's unit.
    """

    requests: int
    rows: int
    refused: int = Field(description="requests that the live version answers and the new one does not")
    moved: float | None = None
    mean: float | None = None
    largest: float | None = None
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


Cause = Literal["data", "memory", "time", "permanent", "transient"]
CAUSES: dict[Cause, type[RetrainingError]] = {  # the first that fits
    "data": BadData,
    "memory": OutOfMemory,
    "time": OutOfTime,
    "permanent": PermanentError,
}


class Failure(Versioned):
    """Why a job of a step failed; the cause says whether a retry can help, and with what."""

    step: str
    reason: str
    cause: Cause = "transient"

    @classmethod
    def of(cls, step: str, error: Exception) -> Self:
        cause: Cause = next((cause for cause, kind in CAUSES.items() if isinstance(error, kind)), "transient")
        return cls(step=step, reason=str(error), cause=cause)


Document = TypeVar("Document", bound=Strict)


def write(store: DocumentStore, path: str, document: Strict) -> str:
    """Creates the document and returns its path. The first writer wins: a retry reads the existing document."""
    store.create(path, (document.model_dump_json(indent=1) + "\n").encode())
    return path


def read(store: DocumentStore, path: str, kind: type[Document]) -> Document:
    document = find(store, path, kind)
    if document is None:
        raise StoreError(f"{path} is not in the store {store.root}; clear the task that writes it")
    return document


def find(store: DocumentStore, path: str, kind: type[Document]) -> Document | None:
    content = store.read(path)
    return None if content is None else parse(kind, content)


def parse(kind: type[Document], content: bytes | str) -> Document:
    """A document stored by an older, this or a newer version of the project. Raises TooNew, or pydantic's ValidationError."""
    return kind.model_validate_json(content, context=STORED)
