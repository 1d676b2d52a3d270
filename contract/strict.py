"""Parse once, at the edge, and report every problem: the base of all that people or other processes write."""

import difflib
import re
from collections.abc import Hashable
from datetime import timedelta
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError, WithJsonSchema

from contract.errors import InvalidFile

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


class Strict(BaseModel):
    """Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_timedelta="iso8601", ser_json_inf_nan="strings")


def parse_duration(value: Any) -> timedelta:
    """«90m» → 90 minutes. A bare number is refused: its unit would be a guess."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write a number with a unit: ms, s, m, h or d, such as 90m")
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])


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


class _UniqueKeys(yaml.CSafeLoader):
    """YAML's safe loader, but a key written twice is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is written twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


Parsed = TypeVar("Parsed", bound=Strict)


def parse_yaml(kind: type[Parsed], text: str, path: str, **given: Any) -> Parsed:
    """The file as a `kind`, with the `given` keys added; raises InvalidFile with all problems at once."""
    try:
        content = yaml.load(text, _UniqueKeys)  # noqa: S506  (a subclass of the safe loader)
    except yaml.YAMLError as error:
        raise InvalidFile(path, [_yaml_problem(error)]) from None
    if not isinstance(content, dict):
        raise InvalidFile(path, ["the file is not a mapping of keys to values"])
    clash = sorted(set(given) & set(content))
    if clash:
        raise InvalidFile(path, [f"{key}: not to be written; it is the file's name" for key in clash])
    try:
        return kind.model_validate({**content, **given})
    except ValidationError as error:
        raise InvalidFile(path, problems_of(error, kind)) from None


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{where}not YAML: {getattr(error, 'problem', None) or error}"


def problems_of(error: ValidationError, kind: type[BaseModel]) -> list[str]:
    """One line for each problem: dotted place, what is wrong, and the nearest right key for an unknown one."""
    return [_problem(detail, kind) for detail in error.errors(include_url=False)]


def _problem(detail: Any, kind: type[BaseModel]) -> str:
    path = [str(part) for part in detail["loc"]]
    place = ".".join(path)
    if detail["type"] == "missing":
        return f"{place}: missing"
    if detail["type"] == "extra_forbidden":
        return f"{place}: unknown key{_nearest(path, kind)}"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    written = "" if isinstance(detail["input"], dict | list) or repr(detail["input"]) in message else f" (is {detail['input']!r})"
    return f"{place}: {message}{written}" if place else message


def _nearest(path: list[str], kind: type[BaseModel]) -> str:
    known = _keys_at(path[:-1], kind)
    close = difflib.get_close_matches(path[-1], known, n=1)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f" (known here: {', '.join(known)})" if known else ""


def _keys_at(path: list[str], kind: type[BaseModel]) -> list[str]:
    schema = kind.model_json_schema()
    node = schema
    for part in path:
        node = _child(_resolve(node, schema), part, schema)
    return list(_resolve(node, schema).get("properties", {}))


def _resolve(node: dict, schema: dict) -> dict:
    """Follows $ref, and takes the branch with keys out of «this or null»."""
    while "$ref" in node or "anyOf" in node:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        else:
            node = next((branch for branch in node["anyOf"] if "$ref" in branch), {})
    return node


def _child(node: dict, part: str, schema: dict) -> dict:
    if part.isdigit():
        return node.get("items", {})
    extra = node.get("additionalProperties")
    return node.get("properties", {}).get(part) or (extra if isinstance(extra, dict) else {})
