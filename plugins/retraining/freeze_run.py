"""The first step: freezes the run, so that a file edit or a new champion during the run does not affect it."""

import difflib
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from croniter import croniter

from contract import documents
from contract.documents import Champion, Image, RunDocument
from contract.keys import digest_of
from contract.paths import RunFolder
from contract.platform import Platform
from contract.store.base import Store
from plugins.retraining.catalog import ModelFiles, airflow_home
from plugins.retraining.errors import InvalidParam
from release.ledger.ledger import Ledger

BUNDLE = Path(__file__).resolve().parents[2]
REFERENCE_DAY, YEAR, MAX_COUNTED = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=365), 10_000
PACKAGES = ("contract", "images", "plugins", "release", "serving", "spark_jobs")


@dataclass(frozen=True)
class Trigger:
    """Airflow's data about the run. `conf`: given by whoever triggered it, unvalidated.

    `started` is the same over the retries of one clearing, and the only value that distinguishes a run from a deleted one of the
    same id.
    """

    run_id: str
    run_type: str
    clear_number: int
    started: datetime
    due: datetime
    conf: dict[str, Any]
    url: str


def freeze_run(model: ModelFiles, platform: Platform, trigger: Trigger, params: dict[str, Any], store: Store) -> str:
    """Path of the run document; an existing one is kept."""
    _refuse_unknown(trigger.conf, list(params))
    champion = Ledger(store).champion(model.spec.name)
    folder = RunFolder.of(model.spec.name, trigger.run_id, trigger.started.isoformat()).path
    document = RunDocument(
        model=model.spec.name,
        run_id=trigger.run_id,
        folder=folder,
        clear_number=trigger.clear_number,
        started=trigger.started,
        as_of=parse_as_of(params["as_of"]) if params["as_of"] else trigger.due,
        backfill=trigger.run_type == "backfill",
        release=params["release"],
        spec=model.spec,
        spec_hash=digest_of(model.spec.model_dump(mode="json")),
        sql=model.sql,
        suites=model.suites,
        platform=_with_data(platform, params["data"]),
        champion=champion_of(champion) if champion else None,
        evaluations_per_year=runs_a_year(model.spec.schedule) if model.spec.schedule else None,
        code_hash=code_hash(BUNDLE, model),
        url=trigger.url,
    )
    return documents.write(store, f"{folder}/run-{trigger.clear_number}.json", document)


def champion_of(image: Image) -> Champion:
    return Champion(version=image.version, digest=image.digest, as_of=image.as_of, anchor=image.anchor)


def runs_a_year(schedule: str) -> float:
    """How often a cron expression, or @daily and its like, fires per year; extrapolated from the first 10,000 times if frequent."""
    times = croniter(schedule, REFERENCE_DAY)
    for count in range(MAX_COUNTED):
        if times.get_next(datetime) > REFERENCE_DAY + YEAR:
            return max(count, 1)
    latest: datetime = times.get_current(datetime)
    return MAX_COUNTED * (YEAR / (latest - REFERENCE_DAY))


def parse_as_of(text: str) -> datetime:
    """A time without a zone is UTC. Raises InvalidParam."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidParam(f"as_of: {text!r} is not a time; write one such as 2013-06-01T00:00:00+00:00") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if moment > datetime.now(UTC):  # once live, such a version would block every release until then
        raise InvalidParam(f"as_of: {text} is in the future; write a past time")
    return moment


def code_hash(bundle: Path, model: ModelFiles) -> str:
    """Hash of the packages' Python files and of the model's SQL and suites. Needs no git."""
    files = sorted(file for package in PACKAGES for file in (bundle / package).rglob("*.py"))
    code = {str(file.relative_to(bundle)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return digest_of({"code": code, "sql": model.sql, "suites": model.suites})


def _with_data(platform: Platform, data: str | None) -> Platform:
    """The param `data` replaces the root of the sources' relative paths."""
    if not data:
        return platform
    return platform.model_copy(update={"data": data if "://" in data else str(airflow_home() / data)})


def _refuse_unknown(conf: dict[str, Any], known: list[str]) -> None:
    """Raises InvalidParam; Airflow itself ignores an unknown key."""
    for name in conf:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
            raise InvalidParam(f"{name}: unknown param ({hint})")
