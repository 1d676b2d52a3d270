"""Documents of compare and decide: a challenger's comparisons and the verdict. Times are UTC."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from contract.base_model import Strict, Versioned
from contract.metrics import MetricName

Side = Literal["challenger", "reference"]
MOST_TOLERANCE = 1e-6  # what single precision explains; more would hide a wrong model


class Interval(Strict):
    """A two-sided interval around `value`, each side wrong with probability `level`: `standard_error` times Student's t.

    `low` and `high` are None where it is undefined, and `why` says why. `lag1` (of blocks in time order) and `skewness` describe
    the block values that it comes from: the interval is too short where both are large.
    """

    value: float | None
    low: float | None
    high: float | None
    blocks: int
    level: float = 0.025
    standard_error: float | None = None
    degrees_of_freedom: int | None = None
    lag1: float | None = None
    skewness: float | None = None
    why: str = ""


class MetricResult(Strict):
    """`improvement` is positive where the challenger is better, whatever the metric's direction."""

    metric: MetricName
    challenger: Interval
    reference: Interval
    improvement: Interval


class Parity(Strict):
    """ONNX against Spark on holdout rows: |a − b| ≤ tolerance·max(1, |a|)."""

    rows: int
    largest: float
    labels_differ: int
    tolerance: float = Field(1e-9, gt=0, le=MOST_TOLERANCE)


class SliceResult(Strict):
    """The gate's metric on the rows where `column` has `value` (None: is null), or on those of `pooled` small values together.

    `p_worse` is the one-sided p-value of «not worse by more than the slices' margin»: small where harm is shown.
    """

    column: str
    value: str | None
    pooled: int = 0
    rows: int
    improvement: Interval
    p_worse: float | None


class Curves(Strict):
    """Calibration, ranking and residuals of one model's predictions: shown to people, not used by the gate.

    `calibration`: (mean probability, observed share, rows) per tenth; `calibration_error`: their mean distance, weighted by rows.
    `ranking`: (false positive rate, true positive rate, precision) at falling thresholds. `residuals`: (from, to, rows) of
    predicted − actual; the first and last bin include all that is beyond.
    """

    calibration: tuple[tuple[float, float, int], ...] = ()
    calibration_error: float | None = None
    ranking: tuple[tuple[float, float, float], ...] = ()
    residuals: tuple[tuple[float, float, int], ...] = ()


class RecipeChange(Strict):
    """The challenger's recipe differs from the champion's: `changed` names those parts of the spec.

    `result` compares models trained both ways, each on the rows before a walk-forward fold, over the `rows` of all folds; `why`
    says why there is no result.
    """

    changed: tuple[str, ...]
    rows: int = 0
    result: MetricResult | None = None
    why: str = ""


class ReferenceComparison(Strict):
    """The challenger against one reference model on the holdout rows that neither was trained on.

    `incomparable` says why an honest comparison is impossible; `unseen_after`: the reference model was trained on rows until
    then, and only later ones count.
    """

    reference: Literal["champion", "anchor", "baseline"]
    version: int | None
    rows: int
    metrics: tuple[MetricResult, ...] = ()
    slices: tuple[SliceResult, ...] = ()
    unseen_after: datetime | None = None
    curves: dict[Side, Curves] = {}
    incomparable: str = ""


class Comparison(Versioned):
    """The first comparison is with the champion, or else the baseline; a second with the anchor, where that is another version.

    `version` is the challenger's.
    """

    version: int
    comparisons: tuple[ReferenceComparison, ...] = Field(min_length=1)
    anchor: int | None = Field(None, description="version that small losses are summed from; may be the champion")
    folds: dict[MetricName, Interval] = Field({}, description="as in `Training.folds`")
    recipe: RecipeChange | None = None
    parity: Parity
    golden: str = Field(description="path of the golden rows in the store")
    seconds: float


class Approval(Strict):
    """A person's answer to a verdict; no answer in time counts as no."""

    approved: bool
    by: str
    at: datetime
    reason: str


class Verdict(Versioned):
    """The gate's decision; `approval` overrides it."""

    decision: Literal["promote", "keep", "inconclusive"]
    reason: str
    approval: Approval | None = None

    @property
    def goes_on(self) -> bool:
        return self.approval.approved if self.approval else self.decision == "promote"
