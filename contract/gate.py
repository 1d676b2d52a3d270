"""`Gate`: the part of a spec that says when a challenger may replace the champion."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contract.base_model import LongerThanZero, Shape, Strict, without_problems
from contract.metrics import METRICS, ON_DEMAND, MetricName, Task

Column = Annotated[
    str, Shape(r"^[A-Za-z_][A-Za-z0-9_]{0,127}$", "a column name of letters, digits and _ that does not start with a digit")
]
TIME = "time"  # in `blocks`: by the rows' time


class Guard(Strict):
    """A limit on the challenger alone: on the holdout's rows, or on its recipe's walk-forward folds."""

    metric: MetricName
    over: Literal["holdout", "folds"] = "holdout"
    min: float | None = Field(None, allow_inf_nan=False)
    max: float | None = Field(None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.min is None) == (self.max is None):
            raise ValueError("a guard has either min or max")
        return self


class Costs(Strict):
    """What a decision costs, in any unit; a negative cost is a gain."""

    true_positive: float = Field(0.0, allow_inf_nan=False)
    false_positive: float = Field(0.0, allow_inf_nan=False)
    true_negative: float = Field(0.0, allow_inf_nan=False)
    false_negative: float = Field(0.0, allow_inf_nan=False)


class Slices(Strict):
    """Parts of the holdout, one for each value of a column, on which the gate's metric is tested separately.

    `not_shown_worse` fails only where a slice is shown to be worse by more than `margin`; `shown_not_worse` requires each slice
    to be shown not worse.
    """

    columns: tuple[Column, ...] = Field(min_length=1, max_length=10)
    margin: float = Field(ge=0, allow_inf_nan=False)
    min_rows: int = Field(1000, ge=50, description="values with fewer holdout rows are pooled into one slice")
    require: Literal["not_shown_worse", "shown_not_worse"] = "not_shown_worse"

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        return without_problems(self, [f"columns: listed twice: {', '.join(twice)}"] if twice else [])


class Gate(Strict):
    """When a challenger may replace the champion. `margin` is in the metric's own unit."""

    metric: MetricName
    rule: Literal["better", "not_worse"] = "better"
    margin: float = Field(0.0, ge=0, allow_inf_nan=False)
    confidence: float = Field(0.95, gt=0.5, lt=1)
    blocks: tuple[Column, ...] = Field(
        (), description="rows depend on each other by time, by a column such as customer, or by both"
    )
    threshold: float = Field(0.5, gt=0, lt=1, description="a binary answer above it counts as 1")
    costs: Costs | None = None
    quantile: float = Field(0.5, gt=0, lt=1, description="of quantile_loss")
    season: LongerThanZero | None = Field(
        None, description="a first model must beat the label one season earlier, in each cluster of blocks if there is one"
    )
    guards: tuple[Guard, ...] = ()
    slices: Slices | None = None
    yearly_false_promotions: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="how many are accepted a year: sets a stricter level for each evaluation"
    )
    approval: Literal["required"] | None = Field(None, description="a promotion waits for a person's approval")
    on_inconclusive: Literal["keep", "ask"] = "keep"
    answer_within: LongerThanZero = Field(timedelta(minutes=30), description="later than this, or than the deadline, means no")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        if self.rule == "not_worse" and self.margin == 0:
            problems.append("margin: must be above 0 for rule not_worse: how much worse is acceptable")
        if "expected_cost" in self.required_metrics and self.costs is None:
            problems.append("costs: missing; expected_cost needs them, such as {false_positive: 1, false_negative: 5}")
        if len(self.blocks) > 2 or len(set(self.blocks)) < len(self.blocks):
            problems.append("blocks: must be time, one column, or both")
        return without_problems(self, problems)

    @property
    def required_metrics(self) -> tuple[MetricName, ...]:
        """The gate's own metric, then those of its guards."""
        return tuple(dict.fromkeys((self.metric, *(guard.metric for guard in self.guards))))

    @property
    def cluster(self) -> str | None:
        return next((name for name in self.blocks if name != TIME), None)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the gate needs besides the label and the predictions."""
        return tuple(dict.fromkeys([*([self.cluster] if self.cluster else []), *(self.slices.columns if self.slices else ())]))

    @property
    def side(self) -> float:
        """Error probability of each end of a reported interval."""
        return (1 - self.confidence) / 2

    def level(self, evaluations_per_year: float | None) -> float:
        """Significance level of one evaluation: its share of the yearly budget, at most `side`.

        The expected number of false promotions a year is at most the sum of the levels.
        """
        if self.yearly_false_promotions is None or evaluations_per_year is None:
            return self.side
        return min(self.side, self.yearly_false_promotions / evaluations_per_year)

    def measured(self, task: Task) -> tuple[MetricName, ...]:
        """Every metric that a comparison reports, the gate's own first."""
        return tuple(dict.fromkeys((*self.required_metrics, *(name for name in METRICS[task] if name not in ON_DEMAND))))
