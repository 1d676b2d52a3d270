"""`ModelSpec`: one model's YAML, parsed. Keys are the model's own concepts; Spark's parameters keep Spark's names."""

import difflib
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from contract.algorithms import METRICS, PARAMS, TASKS, AlgorithmName, MetricName, Task
from contract.strict import Duration, Strict, parse_yaml

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Column = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
ParamValue = bool | int | float | str
ZERO = timedelta(0)


class Source(Strict):
    """One table that examples are made of. `columns` (name: Spark SQL type) is required where a format has no types."""

    format: Literal["csv", "json", "parquet"]
    path: str = Field(min_length=1)
    columns: dict[Column, str] = {}
    options: dict[str, str] = {}
    time_column: Column | None = None
    partition_column: Column | None = None
    window: Duration | None = None
    max_age: Duration | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.format != "parquet" and not self.columns:
            raise ValueError(
                f"columns: missing; {self.format} has no types of its own (write name: type, such as distance: double)"
            )
        for key in ("window", "max_age", "partition_column"):
            if getattr(self, key) is not None and self.time_column is None:
                raise ValueError(f"{key} needs time_column")
        if self.window is not None and self.window <= ZERO:
            raise ValueError("window must be longer than zero")
        return self


class Examples(Strict):
    """What one row to learn from looks like. Without `sql` the only source is taken as it is."""

    sql: str | None = Field(None, pattern=r"^[\w.-]+\.sql$", description="a file beside the spec")
    time: Column | None = None
    id: Column
    label: Column
    numeric: tuple[Column, ...] = ()
    categorical: tuple[Column, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        features = [*self.numeric, *self.categorical]
        if not features:
            raise ValueError("numeric or categorical: at least one feature is needed")
        twice = sorted({name for name in features if features.count(name) > 1})
        if twice:
            raise ValueError(f"listed twice: {', '.join(twice)}")
        if self.label in features:
            raise ValueError(f"{self.label} is the label and cannot be a feature")
        if self.id in features:
            raise ValueError(f"{self.id} is the id and cannot be a feature")
        return self


class Features(Strict):
    """Spark ML stages before the algorithm. `skip` is no choice: a server cannot drop the row it was asked about."""

    impute: Literal["mean", "median", "mode"] = "median"
    handleInvalid: Literal["keep", "error"] = "keep"  # noqa: N815  (Spark's name)
    encode: Literal["one_hot", "index"] = "one_hot"
    scale: bool = False
    max_categories: int = Field(1000, ge=2, le=100_000)


class Split(Strict):
    """The rows kept back: a duration at the end of the window, or a share by hash of the id."""

    holdout: Duration | Annotated[float, Field(gt=0, le=0.5)]
    gap: Duration = ZERO


class Search(Strict):
    grid: dict[str, tuple[ParamValue, ...]] = Field(min_length=1)
    validation_share: float = Field(
        0.2, gt=0, le=0.5, description="the newest (or hashed) part of the training rows that picks the winner"
    )


class Algorithm(Strict):
    name: AlgorithmName
    params: dict[str, ParamValue] = {}
    search: Search | None = None

    @model_validator(mode="after")
    def _known_params(self) -> Self:
        known = PARAMS[self.name]
        grid = self.search.grid if self.search else {}
        for name, values in [*((n, (v,)) for n, v in self.params.items()), *grid.items()]:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
                raise ValueError(f"{self.name} has no parameter '{name}' ({hint})")
            if not values or not all(_fits(value, known[name]) for value in values):
                raise ValueError(f"{name} takes {known[name].__name__} values")
        both = sorted(set(self.params) & set(grid))
        if both:
            raise ValueError(f"in params and in search.grid: {', '.join(both)}")
        return self


def _fits(value: ParamValue, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind


class Guard(Strict):
    """A limit on the challenger alone."""

    metric: MetricName
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.min is None) == (self.max is None):
            raise ValueError("a guard has either min or max")
        return self


class Gate(Strict):
    """When a challenger may replace the champion. `margin` is in the metric's own unit."""

    metric: MetricName
    rule: Literal["better", "not_worse"] = "better"
    margin: float = Field(0.0, ge=0, allow_inf_nan=False)
    confidence: float = Field(0.95, gt=0.5, lt=1)
    guards: tuple[Guard, ...] = ()

    @model_validator(mode="after")
    def _margin(self) -> Self:
        if self.rule == "not_worse" and self.margin == 0:
            raise ValueError("rule not_worse needs a margin above 0: how much worse is still good enough")
        return self


class Serving(Strict):
    """How a version meets traffic, and the limits it must keep there."""

    canary: tuple[Annotated[int, Field(ge=1, le=100)], ...] = (5, 25, 100)
    hold: Duration = timedelta(seconds=60)
    max_hold: Duration | None = Field(None, description="longest wait for min_requests in a step; default 10 × hold")
    min_requests: int = Field(300, ge=1)
    max_error_rate: float = Field(0.01, gt=0, lt=1)
    max_p95: Duration = timedelta(milliseconds=50)
    max_memory_mb: int = Field(512, ge=64)

    @model_validator(mode="after")
    def _steps(self) -> Self:
        if not self.canary or list(self.canary) != sorted(set(self.canary)) or self.canary[-1] != 100:
            raise ValueError("canary: steps must rise and end at 100, such as [5, 25, 100]")
        if self.hold <= ZERO:
            raise ValueError("hold must be longer than zero")
        if self.longest_hold < self.hold:
            raise ValueError("max_hold is shorter than hold")
        return self

    @property
    def longest_hold(self) -> timedelta:
        return self.max_hold or 10 * self.hold


class Alerts(Strict):
    slack: bool = False
    email: tuple[Annotated[str, StringConstraints(pattern=r"^[^@\s,]+@[^@\s,]+$")], ...] = ()


class ModelSpec(Strict):
    """What one file in dags/models/ describes; `name` is the file's stem."""

    name: Name
    description: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    schedule: str | None = Field(None, description="a cron expression, @hourly, @daily…; absent: by hand only")
    start: date | None = None
    end: date | None = None
    deadline: Duration = timedelta(hours=2)
    sources: dict[Name, Source] = Field(min_length=1)
    expectations: dict[Name, Name] = {}
    examples: Examples
    features: Features = Features()
    task: Task
    split: Split
    algorithm: Algorithm
    gate: Gate
    serving: Serving = Serving()
    alerts: Alerts = Alerts()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [*self._time_problems(), *self._task_problems(), *self._source_problems()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _time_problems(self) -> list[str]:
        by_time = isinstance(self.split.holdout, timedelta)
        found = []
        if by_time and self.examples.time is None:
            found.append("split.holdout: a duration needs examples.time; rows without time are split by a share such as 0.2")
        if not by_time and self.examples.time is not None:
            found.append(
                "split.holdout: examples with time are split by a duration such as 14d, so that training precedes the holdout"
            )
        if by_time and self.split.holdout <= ZERO:
            found.append("split.holdout must be longer than zero")
        if not by_time and self.split.gap > ZERO:
            found.append("split.gap needs a holdout by time")
        if self.start and self.end and self.end < self.start:
            found.append(f"end: {self.end} is before start: {self.start}")
        if self.schedule and not self.start:
            found.append("start: a schedule needs a first day")
        return found

    def _task_problems(self) -> list[str]:
        found = []
        if self.task not in TASKS[self.algorithm.name]:
            fitting = ", ".join(name for name, tasks in TASKS.items() if self.task in tasks)
            found.append(f"algorithm.name: {self.algorithm.name} does not fit task {self.task} (fitting: {fitting})")
        for place, metric in [("gate.metric", self.gate.metric), *(("gate.guards", g.metric) for g in self.gate.guards)]:
            if metric not in METRICS[self.task]:
                found.append(f"{place}: {metric} is no metric of task {self.task} (known: {', '.join(METRICS[self.task])})")
        return found

    def _source_problems(self) -> list[str]:
        found = [f"expectations.{name}: no such source" for name in self.expectations if name not in self.sources]
        if self.examples.sql is None and len(self.sources) > 1:
            found.append("examples.sql: missing; with several sources a query must join them")
        windows = [source.window for source in self.sources.values() if source.window]
        holdout = self.split.holdout
        if isinstance(holdout, timedelta) and windows and holdout + self.split.gap >= max(windows):
            found.append("split.holdout and split.gap leave no rows to train on: they are as long as the longest source window")
        return found


def parse_spec(text: str, path: Path) -> ModelSpec:
    """Raises InvalidFile with every problem of the file."""
    return parse_yaml(ModelSpec, text, str(path), name=path.stem)
