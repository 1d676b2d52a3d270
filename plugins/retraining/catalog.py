"""Loads and validates the bundle's files: model specs, their SQL and expectation suites, and the platform.

A model's file is `<bundle>/dags/models/<name>.yaml`; the other folders are resolved from it, not from the working directory.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from croniter import CroniterBadDateError, croniter

from contract.algorithms import is_xgboost
from contract.base_model import format_duration
from contract.errors import InvalidFile
from contract.platform import Platform, load_platform
from contract.spark import Spark, excesses, merged, xgboost_problems
from contract.spec import ModelSpec, parse_spec

REFERENCE_DAY, DAY_S, MAX_TIMES = datetime(2026, 1, 1, tzinfo=UTC).timestamp(), 86_400, 1000
MAX_DEFAULT_PROBATION = timedelta(hours=1)  # default where the spec sets none
Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class ModelFiles:
    """A spec, the files that it names, and its default probation filled in."""

    spec: ModelSpec
    sql: str | None
    suites: dict[str, dict[str, Any]]


def load_model_and_platform(path: Path) -> tuple[ModelFiles, Platform]:
    """A model and its platform. Raises InvalidFile with the problems of both."""
    model, problems = _loaded(load_model, path)
    platform, problems_of_platform = _loaded(platform_for, path)
    problems += problems_of_platform
    if model and platform:
        problems += [f"{path.name}: {problem}" for problem in _resource_problems(model.spec, platform.spark)]
    if model is None or platform is None or problems:
        raise InvalidFile(str(path), problems)
    return model, platform


def _resource_problems(spec: ModelSpec, platform: Spark) -> list[str]:
    problems = excesses(spec.spark, platform.limits)
    if is_xgboost(spec.algorithm.name):
        problems += xgboost_problems(platform, merged(platform, spec.spark))
    return problems


def _loaded(load: Callable[[Path], Loaded], path: Path) -> tuple[Loaded | None, list[str]]:
    """What `load` returns, or its problems with the file's name."""
    try:
        return load(path), []
    except InvalidFile as error:
        return None, [f"{Path(error.path).name}: {problem}" for problem in error.problems]


def load_model(path: Path) -> ModelFiles:
    spec = parse_spec(_text(path), path)
    problems = _schedule_problems(spec)
    sql = _sql(path, spec, problems)
    suites = {source: _suite(path, source, name, problems) for source, name in spec.expectations.items()}
    if problems:
        raise InvalidFile(str(path), problems)
    return ModelFiles(spec=_with_probation(spec), sql=sql, suites=suites)


def platform_for(path: Path) -> Platform:
    """The platform from RETRAINING_PLATFORM: a name in dags/platforms/, or a file path relative to AIRFLOW_HOME."""
    name_or_file = os.environ.get("RETRAINING_PLATFORM", "local")
    home = airflow_home()
    is_file = "/" in name_or_file or name_or_file.endswith(".yaml")
    return load_platform(home / name_or_file if is_file else path.parents[1] / "platforms" / f"{name_or_file}.yaml", home)


def airflow_home() -> Path:
    return Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser().resolve()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise InvalidFile(str(path), [f"cannot be read ({error.strerror})"]) from None
    except UnicodeDecodeError as error:
        raise InvalidFile(str(path), [f"byte {error.start + 1} is not UTF-8; save the file as UTF-8"]) from None


def _schedule_problems(spec: ModelSpec) -> list[str]:
    if spec.schedule is None:
        return []
    if not croniter.is_valid(spec.schedule):
        return [f'schedule: {spec.schedule!r} is not a cron expression; write five fields such as "0 6 * * *", or @daily']
    shortest, probation = shortest_interval(spec.schedule), spec.serving.probation
    if shortest is None:
        return [f"schedule: {spec.schedule!r} never fires: no such date exists"]
    if probation is None or probation < shortest:
        return []
    problem = f"{format_duration(probation)} is not shorter than the schedule's shortest interval, {format_duration(shortest)}"
    return [f"serving.probation: {problem}; the next release would wait until it ends: shorten it, or write 0s for none"]


@cache
def shortest_interval(schedule: str) -> timedelta | None:
    """Shortest interval between a cron expression's times, None if it never fires.

    Checks two days where all days are alike, else a year, and at most 1000 times.
    """
    times = croniter(schedule, REFERENCE_DAY)
    days = 2 if times.expanded[2:5] == [["*"]] * 3 else 366
    moments = _times(times, REFERENCE_DAY + days * DAY_S)
    return timedelta(seconds=min(later - sooner for sooner, later in pairwise(moments))) if moments else None


def _times(times: croniter, until: float) -> list[float]:
    """Unix times, two at least; empty for an impossible date such as 30 February."""
    try:
        moments = [times.get_next(float), times.get_next(float)]
        while moments[-1] < until and len(moments) < MAX_TIMES:
            moments.append(times.get_next(float))
    except CroniterBadDateError:
        return []
    return moments


def _with_probation(spec: ModelSpec) -> ModelSpec:
    """Default: one hour, or half of the schedule's shortest interval if less, because the next release waits for its end."""
    if spec.serving.probation is not None:
        return spec
    shortest = shortest_interval(spec.schedule) if spec.schedule else None
    probation = min(MAX_DEFAULT_PROBATION, shortest / 2) if shortest else MAX_DEFAULT_PROBATION
    return spec.model_copy(update={"serving": spec.serving.model_copy(update={"probation": probation})})


def _sql(path: Path, spec: ModelSpec, problems: list[str]) -> str | None:
    if spec.examples.sql is None:
        return None
    file = path.parent / spec.examples.sql
    if not file.is_file():
        problems.append(f"examples.sql: there is no file dags/models/{spec.examples.sql}")
        return None
    return _text(file)


def _suite(path: Path, source: str, name: str, problems: list[str]) -> dict[str, Any]:
    file = path.parents[2] / "expectations" / f"{name}.json"
    if not file.is_file():
        problems.append(f"expectations.{source}: there is no file expectations/{name}.json")
        return {}
    try:
        suite = json.loads(_text(file))
    except json.JSONDecodeError as error:
        problems.append(f"expectations.{source}: expectations/{name}.json, line {error.lineno}: not JSON: {error.msg}")
        return {}
    if not isinstance(suite, dict):
        problems.append(f"expectations.{source}: expectations/{name}.json is not one suite (an object)")
        return {}
    return suite
