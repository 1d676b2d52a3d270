"""Which parameters of an algorithm a search tries, and within which limits."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from contract.base_model import Scalar, Strict, without_problems

Method = Literal["grid", "random", "halving"]
MOST_CANDIDATES = 10_000


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    return value


Number = Annotated[int | float, BeforeValidator(_number), Field(allow_inf_nan=False)]


class Distribution(Strict):
    """Numbers from `low` to `high`, both included; with `log` each order of magnitude is as likely as the others."""

    low: Number
    high: Number
    log: bool = False

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        problems = [] if self.low < self.high else [f"high: must be more than low, {self.low:g}"]
        problems += ["low: must be more than 0 where log is true"] if self.log and self.low <= 0 else []
        return without_problems(self, problems)


def _values(value: Any) -> Any:
    if not isinstance(value, Mapping | Distribution | list | tuple):
        raise ValueError("must be a list such as [3, 5] or a distribution such as {low: 3, high: 8}")
    return value


def _kind(value: Any) -> str:
    return "[distribution]" if isinstance(value, Mapping | Distribution) else "[list]"


Values = Annotated[  # a part of a path in brackets is left out of error messages
    Annotated[tuple[Scalar, ...], Tag("[list]")] | Annotated[Distribution, Tag("[distribution]")],
    Discriminator(_kind),
    BeforeValidator(_values),
]


class Search(Strict):
    """One of `grid`, `random` and `halving`.

    Candidates that differ only in the number of boosted trees share one fit, and count as one.
    """

    grid: dict[str, tuple[Scalar, ...]] = Field({}, description="every combination of these values")
    random: dict[str, Values] = Field({}, description="max_candidates draws from these lists and distributions")
    halving: dict[str, Values] = Field(
        {},
        description="as random, on growing shares of the rows, the newest: the best third of the candidates goes on to a share "
        "three times as large",
    )
    max_candidates: int | None = Field(None, ge=1, le=MOST_CANDIDATES)
    max_minutes: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="no candidate begins later; by then one must have ended"
    )
    early_stopping_rounds: int | None = Field(
        None,
        ge=1,
        description="XGBoost: the number of trees is where so many more did not lower the loss on the validation rows; "
        "params.n_estimators is the most",
    )
    validation_share: float = Field(
        0.2, gt=0, le=0.5, description="share of the training rows, the newest or by hash, that the parameters are chosen on"
    )

    @property
    def method(self) -> Method:
        return "random" if self.random else "halving" if self.halving else "grid"

    @property
    def space(self) -> dict[str, tuple[Scalar, ...] | Distribution]:
        """What the candidates are made of."""
        return {**self.grid, **self.random, **self.halving}

    @model_validator(mode="after")
    def _searches(self) -> Self:
        spaces = [name for name in ("grid", "random", "halving") if getattr(self, name)]
        problems = [] if spaces or self.early_stopping_rounds else ["grid: must not be empty"]
        problems += [f"{spaces[1]}: {spaces[0]} is there, too; keep one of them"] if len(spaces) > 1 else []
        draws = self.method != "grid" and self.max_candidates is None
        problems += [f"max_candidates: missing; {self.method} needs the number of its candidates"] if draws else []
        return without_problems(self, problems)
