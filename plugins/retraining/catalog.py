"""What people wrote, read and checked as a whole: the bundle's models, their SQL and suites, and the platform.

A model's file is `<bundle>/dags/models/<name>.yaml`; the other folders are found from there, never from the working directory.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from croniter import croniter

from contract.errors import InvalidFile
from contract.platform import Platform, load_platform
from contract.spec import ModelSpec, parse_spec


@dataclass(frozen=True)
class Model:
    """A spec with the files it names."""

    spec: ModelSpec
    sql: str | None
    suites: dict[str, dict[str, Any]]


def load_entry(path: Path) -> tuple[Model, Platform]:
    """A model and its platform; raises InvalidFile with the problems of both."""
    found, problems = [], []
    for load in (load_model, platform_for):
        try:
            found.append(load(path))
        except InvalidFile as error:
            problems += [f"{Path(error.path).name}: {problem}" for problem in error.problems]
    if problems:
        raise InvalidFile(str(path), problems)
    return found[0], found[1]


def load_model(path: Path) -> Model:
    spec = parse_spec(_text(path), path)
    problems = _schedule_problems(spec)
    sql = _sql(path, spec, problems)
    suites = {source: _suite(path, source, name, problems) for source, name in spec.expectations.items()}
    if problems:
        raise InvalidFile(str(path), problems)
    return Model(spec=spec, sql=sql, suites=suites)


def platform_for(path: Path) -> Platform:
    """The platform that RETRAINING_PLATFORM names, or whose file it gives; relative to AIRFLOW_HOME, as all of its paths."""
    wanted = os.environ.get("RETRAINING_PLATFORM", "local")
    home = airflow_home()
    is_file = "/" in wanted or wanted.endswith(".yaml")
    return load_platform(home / wanted if is_file else path.parents[1] / "platforms" / f"{wanted}.yaml", home)


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
    if spec.schedule is None or croniter.is_valid(spec.schedule):
        return []
    return [f'schedule: {spec.schedule!r} is no cron expression; write five fields such as "0 6 * * *", or @daily']


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
