"""Base models of the YAML files and of the stored documents, and their value types."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PlainSerializer,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic_core import core_schema

from contract.errors import TooNew

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_LONGEST_D = 36_500  # a time minus a longer duration may lie before year 1


STORED: dict[str, Any] = {"stored": True}  # the validation context of what is read from a store


class Strict(BaseModel):
    """Frozen; unknown keys are refused, in files that people write and in code.

    With the context `STORED` an unknown field is one that a newer version of this project wrote: it is not validated, stays
    with the value and its copies, and is written back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_timedelta="iso8601", ser_json_inf_nan="strings")
    _unknown: dict[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def upgraded(cls, stored: dict[str, Any]) -> dict[str, Any]:
        """Stored fields, converted to the current format; see `Versioned`."""
        return stored

    @model_validator(mode="wrap")
    @classmethod
    def _read_stored(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if not (info.context and info.context.get("stored") and isinstance(value, dict)):
            return handler(value)
        fields, known = cls.upgraded(value), cls.model_fields
        unknown = {name: field for name, field in fields.items() if name not in known}
        if not unknown:
            return handler(fields)
        model = handler({name: field for name, field in fields.items() if name not in unknown})
        model._unknown = unknown
        return model

    def _with_fields_of(self, other: "Strict") -> Self:
        """With the unknown fields of the value that this one follows."""
        self._unknown = other._unknown
        return self

    @model_serializer(mode="wrap")
    def _with_unknown(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        return fields | self._unknown


Upgrade = Callable[[dict[str, Any]], dict[str, Any]]


def refuse_newer(kind: str, written: int, known: int) -> None:
    """Raises TooNew where a newer version of this project has written it."""
    if written > known:
        raise TooNew(kind, written, known)


class Versioned(Strict):
    """A kind of stored document. Its `format` rises when older readers would misread it, not for an added optional field.

    `UPGRADES[i]` turns the stored fields of format i + 1 into those of format i + 2. A kind that has any declares its own `format`,
    one more than their number.
    """

    UPGRADES: ClassVar[tuple[Upgrade, ...]] = ()
    format: int = 1

    @classmethod
    def upgraded(cls, stored: dict[str, Any]) -> dict[str, Any]:
        """Raises TooNew for a format above the current one. Fields without a number are of format 1."""
        written, current = stored.get("format", 1), len(cls.UPGRADES) + 1
        refuse_newer(cls.__name__, written, current)
        for upgrade in cls.UPGRADES[written - 1 :]:
            stored = upgrade(stored)
        return {**stored, "format": current}


def parse_duration(value: Any) -> timedelta:
    """«90m» → 90 minutes. A bare number is refused: its unit would be a guess."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a duration, a number with its unit ms, s, m, h or d, such as 90m")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > _LONGEST_D * _UNITS["d"]:
        raise ValueError(f"must be at most {_LONGEST_D}d")
    return timedelta(seconds=seconds)


def format_duration(value: timedelta) -> str:
    """The shortest exact spelling in whole units, such as «60d» or «90m»."""
    milliseconds = round(value.total_seconds() * 1000)
    for unit in ("d", "h", "m", "s", "ms"):
        size = round(_UNITS[unit] * 1000)
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    raise AssertionError("every whole number of milliseconds has a spelling")


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h|d)$", "examples": ["90m", "14d"]}),
]


def longer_than_zero(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than zero")
    return value


def _one_value(value: Any) -> Any:
    """Runs first, because pydantic would report one problem for each branch of the union."""
    if not isinstance(value, bool | int | float | str) or value != value:
        raise ValueError("must be one number, one text, true or false")
    return value


LongerThanZero = Annotated[Duration, AfterValidator(longer_than_zero)]
Scalar = Annotated[bool | int | float | str, BeforeValidator(_one_value)]


@dataclass(frozen=True)
class Shape:
    """Annotates text that matches `pattern`; `expected` describes it in the error message."""

    pattern: str
    expected: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": self.pattern}

    def _check(self, text: str) -> str:
        if re.fullmatch(self.pattern, text) is None:
            raise ValueError(f"must be {self.expected}")
        return text


Checked = TypeVar("Checked", bound=Strict)


def without_problems(checked: Checked, problems: list[str]) -> Checked:
    """For model validators: the model as it is, or a ValueError with one argument per problem."""
    if problems:
        raise ValueError(*problems)
    return checked


def written(value: Any) -> str:
    """A value as error messages show it."""
    if value is None:
        return "empty"
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, date) else repr(value)
