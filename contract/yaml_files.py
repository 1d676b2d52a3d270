"""Parses the YAML files that people write, and reports all of their problems in plain words."""

import difflib
import re
from collections.abc import Collection, Hashable
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from contract.base_model import Strict, written
from contract.errors import InvalidFile


class _UniqueKeys(yaml.CSafeLoader):  # type: ignore[misc]  # PyYAML has no type hints
    """YAML's safe loader, but a key written twice is an error instead of the last one winning."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # such as 2013-02-30
            raise yaml.constructor.ConstructorError(None, None, f"{node.value} ({error})", node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # merged keys may be overridden
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is written twice", key_node.start_mark)
            seen.add(key)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


Parsed = TypeVar("Parsed", bound=Strict)
Schema = dict[str, Any]  # JSON Schema, or a part of one


def parse_yaml(kind: type[Parsed], text: str, path: str, **given: Any) -> Parsed:
    """The file as a `kind`, with the `given` keys added; raises InvalidFile with all problems at once."""
    try:
        content = yaml.load(text, _UniqueKeys)  # noqa: S506  (a subclass of the safe loader)
    except yaml.YAMLError as error:
        raise InvalidFile(path, [_yaml_problem(error, text)]) from None
    if not isinstance(content, dict):
        raise InvalidFile(path, ["the file is not a mapping of keys to values"])
    clash = sorted(set(given) & set(content))
    if clash:
        raise InvalidFile(path, [f"{key}: must not be set: it is the file's name" for key in clash])
    try:
        return kind.model_validate({**content, **given})
    except ValidationError as error:
        raise InvalidFile(path, problems_of(error, kind, given)) from None


def _yaml_problem(error: yaml.YAMLError, text: str) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return f"not YAML: {str(error).partition(chr(10))[0]}"
    reason = " ".join(filter(None, (getattr(error, "context", None), problem)))
    advice = _yaml_advice(problem, text.splitlines()[mark.line :])
    return f"line {mark.line + 1}, column {mark.column + 1}: not YAML: {reason}{advice}"


def _yaml_advice(problem: str, lines: list[str]) -> str:
    """Advice for the most common mistakes; else empty."""
    if "mapping values are not allowed" in problem:
        return "; put a text that holds «: » in quotes"
    if "cannot start any token" in problem:
        return "; indent with blanks, not tabs" if lines[0].lstrip(" ").startswith("\t") else "; put this text in quotes"
    return ""


_SENTENCES = {  # prefix of pydantic's error type: the message instead of pydantic's
    "bool": "must be true or false",
    "date": "must be a date such as 2013-03-01",
    "dict": "must be a mapping of keys to values",
    "finite": "must be a finite number",
    "float": "must be a number",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "int": "must be a whole number",
    "invalid_key": "a key must be text",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal": "must be {expected}",
    "model": "must be a mapping of keys to values",
    "string_too_short": "must not be empty",
    "string": "must be text",
    "too_short": "must not be empty",
    "tuple": "must be a list such as [a, b]",
}


def problems_of(error: ValidationError, kind: type[BaseModel], given: Collection[str] = ()) -> list[str]:
    """One line per problem, with the nearest known key for an unknown one; keys in `given` are not proposed."""
    schema = kind.model_json_schema()
    problems = []
    for detail in error.errors(include_url=False):
        path = [part for part in map(str, detail["loc"]) if not part.startswith("[")]  # «[key]», and the branches of a union
        of_whole = isinstance(detail["input"], dict)
        problems += [_line(".".join(path), problem, of_whole) for problem in _problems(detail, path, schema, given)]
    return problems


def _line(key: str, problem: str, of_whole: bool) -> str:
    """The problem of a model validator may begin with a key below `key`."""
    names_key = of_whole and re.match(r"[\w.]+: ", problem)
    return ("." if names_key else ": ").join(filter(None, (key, problem)))


def _problems(detail: Any, path: list[str], schema: Schema, given: Collection[str]) -> list[str]:
    """This project's own validators raise ValueError with one sentence per problem."""
    if detail["type"] == "missing":
        return ["missing"]
    if detail["type"] == "extra_forbidden":
        return [f"unknown key{_nearest(path, schema, given)}"]
    sentences = detail["ctx"]["error"].args if detail["type"] == "value_error" else (_sentence(detail),)
    return [problem + _echo(detail["input"]) for problem in sentences]


def _echo(value: Any) -> str:
    """The value as written; empty for a mapping or list, and for what looks like a URL with a password."""
    text = written(value)
    return "" if isinstance(value, dict | list) or re.search(r":.*@", text, re.DOTALL) else f" (is {text})"


def _sentence(detail: Any) -> str:
    for start in sorted(_SENTENCES, key=len, reverse=True):
        if detail["type"].startswith(start):
            return _SENTENCES[start].format(**detail.get("ctx", {}))
    sentence: str = detail["msg"]
    return sentence


def _nearest(path: list[str], schema: Schema, given: Collection[str]) -> str:
    known = [key for key in _at(path[:-1], schema).get("properties", {}) if len(path) > 1 or key not in given]
    close = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.7)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f" (known here: {', '.join(known)})" if known else ""


def _at(path: list[str], schema: Schema) -> Schema:
    node = _resolve(schema, schema)
    for part in path:
        node = _resolve(_child(node, part) or {}, schema)
    return node


def _resolve(node: Schema, schema: Schema) -> Schema:
    """Follows $ref, also that of an optional model, and of a union with one."""
    while "$ref" in node or "anyOf" in node or "oneOf" in node:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        else:
            branches = node.get("anyOf") or node["oneOf"]
            node = next((branch for branch in branches if "$ref" in branch), {})
    return node


def _child(node: Schema, part: str) -> Schema | None:
    """The schema of a key or of a list's item; None where there can be none."""
    if "items" in node or "prefixItems" in node:
        return node.get("items", {}) if part.isdigit() else None
    free = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
    fitting = [node.get("properties", {}).get(part), *free]
    return next((child for child in fitting if isinstance(child, dict)), None)
