"""`ModelSpec`: one model's YAML, parsed. Keys are the model's own concepts; Spark's and XGBoost's parameters keep their names."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from contract.algorithms import TASKS, Algorithm, is_xgboost
from contract.base_model import (
    Duration,
    LongerThanZero,
    Shape,
    Strict,
    longer_than_zero,
    parse_duration,
    without_problems,
)
from contract.gate import TIME, Column, Gate
from contract.metrics import METRICS, Task
from contract.serving import Serving
from contract.source import Source
from contract.spark import Resources
from contract.yaml_files import parse_yaml

Name = Annotated[str, Shape(r"^[a-z][a-z0-9_]{0,62}$", "a name of small letters, digits and _ that starts with a letter")]
Email = Annotated[str, Shape(r"^[^@\s,]+@[^@\s,]+$", "one address such as ops@example.com")]
ZERO = timedelta(0)
# What the jobs call their own columns beside those of the examples; names that begin with __ are theirs as well.
RESERVED = {"features", "prediction", "probability", "rawPrediction", "challenger", "reference", "their_id", "their_label"}
RESERVED |= {"time_block", "cluster_block", "both_block", "row_block", "slice", "whole"}


class Examples(Strict):
    """Columns of the dataset and their roles. Without `sql` the only source is the dataset."""

    sql: Annotated[str, Shape(r"^[\w.-]+\.sql$", "the name of a .sql file beside the spec")] | None = Field(
        None, description="a file beside the spec"
    )
    time: Column | None = None
    id: Column
    label: Column
    numeric: tuple[Column, ...] = ()
    categorical: tuple[Column, ...] = ()
    allow_leakage: tuple[Column, ...] = Field((), description="features that may predict the label almost perfectly by themselves")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        """Column names are compared without case, as in Spark."""
        features = [name.lower() for name in (*self.numeric, *self.categorical)]
        twice = sorted({name for name in features if features.count(name) > 1})
        problems = [] if features else ["numeric or categorical: at least one feature is needed"]
        problems += [f"listed twice: {', '.join(twice)}"] if twice else []
        roles = {role: name for role in ("id", "time", "label") if (name := getattr(self, role))}
        problems += [f"{name} is the {role} and cannot be a feature" for role, name in roles.items() if name.lower() in features]
        unknown = [name for name in self.allow_leakage if name not in (*self.numeric, *self.categorical)]
        problems += [f"allow_leakage: {name} is no feature" for name in unknown]
        problems += [f"label: {name} is the {role}" for role, name in roles.items() if role != "label" and name == self.label]
        return without_problems(self, problems)


class Features(Strict):
    """Spark ML stages before the algorithm. `skip` is no choice: a server cannot drop the row it was asked about."""

    impute: Literal["mean", "median", "mode"] = Field(
        "median", description="not for XGBoost, which learns where missing numbers go"
    )
    handleInvalid: Literal["keep", "error"] = "keep"  # noqa: N815  (Spark's name)
    encode: Literal["one_hot", "index"] = "one_hot"
    scale: bool = False
    max_categories: int = Field(1000, ge=2, le=100_000)


def _parse_holdout(value: Any) -> timedelta | float:
    if isinstance(value, float) and 0 < value <= 0.5:
        return value
    try:
        return longer_than_zero(parse_duration(value))
    except ValueError:
        raise ValueError("must be a duration such as 14d, or a share up to 0.5") from None


class Split(Strict):
    """The holdout: a duration at the end of the window, or a share by hash of the id."""

    holdout: Annotated[Duration | Annotated[float, Field(gt=0, le=0.5)], BeforeValidator(_parse_holdout)]
    gap: Duration = ZERO
    folds: int | None = Field(
        None,
        ge=2,
        le=20,
        description="walk-forward: number of spans before the holdout, each of its length, that choose the parameters",
    )
    label_delay: Duration = Field(ZERO, description="a row's label comes this much later: the holdout ends so long before as_of")
    max_unlabelled: float = Field(0.02, ge=0, lt=1, description="share of the holdout's rows that may have no label yet")


class Alerts(Strict):
    slack: bool = False
    email: tuple[Email, ...] = ()


class ModelSpec(Strict):
    """What one file in dags/models/ describes; `name` is the file's stem."""

    name: Name
    description: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    schedule: str | None = Field(None, description="a cron expression, @hourly, @daily…; absent: by hand only")
    start: date | None = None
    end: date | None = None
    deadline: LongerThanZero = timedelta(hours=2)
    sources: dict[Name, Source] = Field(min_length=1)
    expectations: dict[Name, Name] = {}
    examples: Examples
    features: Features = Features()
    task: Task
    split: Split
    algorithm: Algorithm
    gate: Gate
    spark: Resources = Field(Resources(), description="this model's resources, where they differ from the platform's")
    serving: Serving = Serving()
    alerts: Alerts = Alerts()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [*self._time_problems(), *self._task_problems(), *self._source_problems(), *self._xgboost_problems()]
        return without_problems(self, problems)

    def _time_problems(self) -> list[str]:
        by_time = isinstance(self.split.holdout, timedelta)
        problems = []
        if by_time and self.examples.time is None:
            problems.append("split.holdout: a duration needs examples.time; rows without time are split by a share such as 0.2")
        if not by_time and self.examples.time is not None:
            problems.append(
                "split.holdout: examples with time are split by a duration such as 14d, so that training precedes the holdout"
            )
        timed = [key for key in ("gap", "label_delay", "folds") if getattr(self.split, key)]
        problems += [f"split.{key}: needs a holdout by time" for key in timed if not by_time]
        if self.start and self.end and self.end < self.start:
            problems.append(f"end: {self.end} is before start: {self.start}")
        if self.schedule and not self.start:
            problems.append("start: a schedule needs a first day")
        return problems

    def _task_problems(self) -> list[str]:
        problems = []
        if self.task not in TASKS[self.algorithm.name]:
            fitting = ", ".join(name for name, tasks in TASKS.items() if self.task in tasks)
            problems.append(f"algorithm.name: {self.algorithm.name} does not fit task {self.task} (fitting: {fitting})")
        for key, metric in [("gate.metric", self.gate.metric), *(("gate.guards", g.metric) for g in self.gate.guards)]:
            if metric not in METRICS[self.task]:
                problems.append(f"{key}: {metric} is no metric of task {self.task} (known: {', '.join(METRICS[self.task])})")
        if any(guard.over == "folds" for guard in self.gate.guards) and not self.split.folds:
            problems.append("gate.guards: over folds needs split.folds")
        if self.gate.cluster and self.gate.cluster in (self.examples.label, self.examples.time):
            problems.append(f"gate.blocks: {self.gate.cluster} is the label or the time; write time for blocks of time")
        if TIME in self.gate.blocks and self.examples.time is None:
            problems.append("gate.blocks: time needs examples.time")
        if self.gate.season is not None and (self.task != "regression" or self.examples.time is None):
            problems.append("gate.season: needs task regression and examples.time")
        if self.gate.yearly_false_promotions is not None and self.schedule is None:
            problems.append("gate.yearly_false_promotions: needs a schedule, which says how many evaluations a year share it")
        return [*problems, *self._slice_problems(), *self._name_problems(), *self._mask_problems()]

    def _xgboost_problems(self) -> list[str]:
        if not is_xgboost(self.algorithm.name):
            return []
        problems = []
        if self.features.encode == "index" and self.examples.categorical:
            problems.append("features.encode: index would order the categories for XGBoost; write one_hot")
        if self.features.scale:
            problems.append("features.scale: XGBoost's trees are the same at any scale; remove it")
        return problems

    def _mask_problems(self) -> list[str]:
        features = {*self.examples.numeric, *self.examples.categorical}
        mask = self.serving.replay.mask if self.serving.replay else ()
        return [f"serving.replay.mask: {name} is no feature" for name in mask if name not in features]

    def _name_problems(self) -> list[str]:
        examples = self.examples
        named = [examples.id, examples.time, examples.label, *examples.numeric, *examples.categorical, *self.gate.columns]
        taken = sorted({name for name in named if name and (name in RESERVED or name.startswith("__"))})
        return [f"examples: the column name {name} is reserved for the jobs; rename it in the SQL" for name in taken]

    def _slice_problems(self) -> list[str]:
        examples = self.examples
        unfit = {examples.id: "the id", examples.time: "the time", examples.label: "the label"}
        unfit |= dict.fromkeys(examples.numeric, "a number")
        unfit |= (
            {self.gate.cluster: "what gate.blocks are made of, so that each slice would be one block"} if self.gate.cluster else {}
        )
        named = self.gate.slices.columns if self.gate.slices else ()
        return [f"gate.slices.columns: {name} is {unfit[name]}; use another, categorical column" for name in named if name in unfit]

    def _source_problems(self) -> list[str]:
        problems = [f"expectations.{name}: no such source" for name in self.expectations if name not in self.sources]
        if self.examples.sql is None and len(self.sources) > 1:
            problems.append("examples.sql: missing; with several sources a query must join them")
        windows = [source.window for source in self.sources.values() if source.window]
        holdout = self.split.holdout
        if isinstance(holdout, timedelta) and windows and self._withheld(holdout) >= max(windows):
            keys = [f"split.{key}" for key in ("gap", "label_delay", "folds") if getattr(self.split, key)] or ["split.gap"]
            cause = f"with {' and '.join(keys)} as long as the longest source window"
            problems.append(f"split.holdout: {cause}, no rows are left to train on")
        return problems

    def _withheld(self, holdout: timedelta) -> timedelta:
        """Length of the window's tail withheld from training: label delay + holdout + gap + folds."""
        split = self.split
        folds = split.folds or 0
        return split.label_delay + (holdout + split.gap) + folds * holdout + (split.gap if folds else ZERO)

    def labels_until(self, as_of: datetime) -> datetime:
        """End of the holdout: later rows have no label yet."""
        return as_of - self.split.label_delay


def parse_spec(text: str, path: Path) -> ModelSpec:
    """Raises InvalidFile with every problem of the file."""
    return parse_yaml(ModelSpec, text, str(path), name=path.stem)
