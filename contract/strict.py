"""Parse once, at the edge, and report every problem: the base of all that people or other processes write."""

import difflib
import re
from collections.abc import Collection, Hashable
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
        raise InvalidFile(path, problems_of(error, kind, given)) from None


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{where}not YAML: {getattr(error, 'problem', None) or error}"


_WANTED = {  # pydantic's kind of error: what people are told instead
    "bool": "true or false is wanted",
    "date": "a date is wanted, such as 2013-03-01",
    "dict": "keys with values are wanted",
    "finite": "a finite number is wanted",
    "float": "a number is wanted",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "int": "a whole number is wanted",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal": "must be {expected}",
    "model": "keys with values are wanted",
    "string_pattern_mismatch": "does not match {pattern}",
    "string_too_short": "must not be empty",
    "string": "text is wanted",
    "too_short": "must not be empty",
    "tuple": "a list is wanted, such as [a, b]",
}


def problems_of(error: ValidationError, kind: type[BaseModel], given: Collection[str] = ()) -> list[str]:
    """One line for each place: what is wrong there, and the nearest right key for an unknown one. `given` is not to be written."""
    schema = kind.model_json_schema()
    found: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        path = _written_path(detail["loc"], schema)
        found.setdefault(".".join(path), []).append(_problem(detail, path, schema, given))
    return [": ".join(filter(None, (place, "; or ".join(problems)))) for place, problems in found.items()]


def _problem(detail: Any, path: list[str], schema: dict, given: Collection[str]) -> str:
    if detail["type"] == "missing":
        return "missing"
    if detail["type"] == "extra_forbidden":
        return f"unknown key{_nearest(path, schema, given)}"
    message = _told(detail)
    told = detail["type"] == "value_error" and repr(detail["input"]) in message
    return message if told or isinstance(detail["input"], dict | list) else f"{message} (is {detail['input']!r})"


def _told(detail: Any) -> str:
    """An error of this project's own checks speaks for itself."""
    kind = detail["type"]
    for start in sorted(_WANTED, key=len, reverse=True):
        if kind.startswith(start):
            return _WANTED[start].format(**detail.get("ctx", {}))
    return detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _nearest(path: list[str], schema: dict, given: Collection[str]) -> str:
    known = [key for key in _at(path[:-1], schema).get("properties", {}) if len(path) > 1 or key not in given]
    close = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.7)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f" (known here: {', '.join(known)})" if known else ""


def _written_path(location: tuple[int | str, ...], schema: dict) -> list[str]:
    """pydantic's location without the names it gives to the branches of «this or that», which nobody wrote."""
    path: list[str] = []
    for part in map(str, location):
        node = _at(path, schema)
        if part != "[key]" and (_child(node, part) is not None or "properties" in node):
            path.append(part)
    return path


def _at(path: list[str], schema: dict) -> dict:
    node = _resolve(schema, schema)
    for part in path:
        node = _resolve(_child(node, part) or {}, schema)
    return node


def _resolve(node: dict, schema: dict) -> dict:
    """Follows $ref, and takes the branch with keys out of «this or null»."""
    while "$ref" in node or "anyOf" in node:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        else:
            node = next((branch for branch in node["anyOf"] if "$ref" in branch), {})
    return node


def _child(node: dict, part: str) -> dict | None:
    """The schema of a key or of a list's item; None where there can be none."""
    if "items" in node or "prefixItems" in node:
        return node.get("items", {}) if part.isdigit() else None
    free = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
    fitting = [node.get("properties", {}).get(part), *free]
    return next((child for child in fitting if isinstance(child, dict)), None)
