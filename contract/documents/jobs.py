"""What the Spark jobs leave behind; the comparison is in contract/comparison.py."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from contract.base_model import Strict, Versioned
from contract.comparison import MOST_TOLERANCE, Interval
from contract.metrics import MetricName

FittedIn = Literal["driver", "executors"]


class DataCheck(Strict):
    """One check of a source, or of the dataset (source «examples»)."""

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
    """The job's document where every check passed; else it is written beside it as .report.json, and the failure names its path."""

    snapshot: Snapshot
    checks: tuple[DataCheck, ...]
    unlabelled: float = Field(0.0, description="share of the holdout's rows without a label")
    seconds: float


class Training(Versioned):
    """`train_until` is the newest example time the fit, search included, has seen; None for rows without time.

    `folds`: the metrics that guards limit on the walk-forward folds, of models fitted like this one, each to the rows before its
    fold: how good the recipe is over time, not how good this version is. `fitted_in`: the driver's process for an XGBoost
    model whose training matrix fits there.
    """

    mlflow_run: str
    mlflow_url: str
    version: int
    params: dict[str, Any]
    train_rows: int
    holdout_rows: int
    train_until: datetime | None
    folds: dict[MetricName, Interval] = {}
    fitted_in: FittedIn = "executors"
    seconds: dict[str, float] = Field(description="stage: seconds")


class Candidate(Strict):
    """`score` is the mean of `spans`, the scores on each validation span, the newest first.

    `share`: of the rows to fit, the newest, on which it was fitted. `seconds`: fit and scoring.
    """

    params: dict[str, Any]
    score: float
    seconds: float
    spans: tuple[float, ...]
    share: float = 1.0


class SearchRecord(Versioned):
    """One fit of a search that ended, with its candidates: a search that was killed goes on from it."""

    search: str = Field(description="hash of all that the search's candidates and their scores follow from")
    candidates: tuple[Candidate, ...]
    elapsed: float = Field(description="seconds of the search until then, those of earlier attempts included")


class GoldenRows(Versioned):
    """Holdout rows with Spark's own predictions; every image is queried with them before it takes traffic.

    `expected`: per row the probabilities in label order (binary, multiclass) or one number (regression); an answer may be off by
    `tolerance`·max(1, |expected|).
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[float | str | None, ...], ...]
    expected: tuple[tuple[float, ...], ...]
    tolerance: float = Field(1e-9, gt=0, le=MOST_TOLERANCE)
