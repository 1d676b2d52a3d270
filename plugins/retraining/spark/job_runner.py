"""A step's Spark job, found if it is there and else submitted once: no engine has crash logic of its own.

Nothing is remembered between two looks: the store has what the job left, the engine knows what lives, and both go by the key.
"""

import time
from logging import Logger
from typing import NamedTuple

from contract import documents
from contract.base_model import Versioned, format_duration
from contract.documents import CAUSES, Failure, JobRequest
from contract.errors import OutOfTime, RetrainingError, StoreError
from contract.spark import Resources, merged, settings
from plugins.retraining.context import TaskContext
from plugins.retraining.engines.base import Application, Engine, EngineAway, Job, JobTags
from plugins.retraining.engines.diagnosis import diagnose
from plugins.retraining.errors import EngineTrouble, GivenUp

POLL_S = 0.2  # at a job of this very host
RETRY_MEMORY = 1.5
TRIES = 3


class Ticket(Versioned):
    """Whose a job is, to be found by its key: in `jobs/<key>/ticket.json`."""

    model: str
    run_id: str
    step: str
    folder: str


class JobState(NamedTuple):
    """`path`: of the job's document, None while it is at work; `link`: to the application, for people; `seconds`: of its age."""

    path: str | None
    link: str = ""
    seconds: float = 0.0


def poke(work: TaskContext, engine: Engine, log: Logger) -> JobState:
    """Raises BadData, OutOfMemory, OutOfTime or EngineTrouble with the job's own sentence; a recorded failure gives the next
    try a new key. EngineAway and StoreError say nothing about the job, which may end well.
    """
    try:
        return _taken_up(work, engine, log)
    except (StoreError, EngineAway):
        raise
    except RetrainingError as error:
        fail(work, error)
        raise


def fail(work: TaskContext, why: RetrainingError) -> None:
    """Raises GivenUp where this was the last try. Airflow's tries are no measure: it counts looks that it lost, too."""
    give_up(work, why)
    if work.attempt.failed + 1 >= TRIES:
        raise GivenUp(f"{why} (it failed {TRIES} times: clear the task when the cause is gone)") from why


def give_up(work: TaskContext, why: RetrainingError) -> None:
    """From now on a late job of this key does nothing, and the next try has another."""
    documents.write(work.store, work.beside("failed"), Failure.of(work.step, why))


def _taken_up(work: TaskContext, engine: Engine, log: Logger) -> JobState:
    """By what the job has left while nobody looked, by what the engine finds, or by a new submission."""
    if work.store.read(work.path) is not None:
        log.info("%s is there already: taken up", work.path)
        return _accept(work, engine, _ended_ones(work, engine), log)
    if documents.find(work.store, work.beside("error"), Failure):
        return _accept(work, engine, [], log)
    found = engine.find(work.key)
    if engine.holds_slot:
        _await(engine, found)  # what a killed task has left: it ends by itself, in a moment
        found = _await(engine, [submit(work, engine, log)])
    elif not found:
        found = [submit(work, engine, log)]
    if _ended(found):
        return _accept(work, engine, found, log)
    _end_overdue(work, engine, found)
    return JobState(None, found[-1].link, found[-1].seconds)


def _ended_ones(work: TaskContext, engine: Engine) -> list[Application]:
    """Only to tell of them: the work is done."""
    try:
        return engine.find(work.key)
    except EngineAway:
        return []


def _await(engine: Engine, found: list[Application]) -> list[Application]:
    while not _ended(found):
        time.sleep(POLL_S)
        found = [engine.state(each.id) for each in found]
    return found


def stop(work: TaskContext, engine: Engine) -> None:
    """For a task with whose process its job ends, too: the key is not used again."""
    for each in engine.find(work.key, live=True):
        engine.stop(each.id)
    give_up(work, EngineTrouble(f"{work.step} was stopped with its task"))


def submit(work: TaskContext, engine: Engine, log: Logger) -> Application:
    """Older jobs of this place, of a try that failed or was cleared, are stopped before."""
    for older in engine.find(JobTags.of(_request(work)).job, live=True):
        log.info("%s is of an earlier try: stopped", older.id)
        engine.stop(older.id)
    _write_ticket(work)
    path = documents.write(work.store, work.beside("request"), _request(work))
    claims = sum(name.startswith(f"{work.step}-{work.key}.claim-") for name in work.store.names(work.run.folder))
    id = engine.submit(Job(_request(work), path, claims, _settings(work, log)), log)
    started = engine.state(id)
    log.info("%s: submitted as %s %s", work.step, id, started.link)
    return started


def _request(work: TaskContext) -> JobRequest:
    return JobRequest(job=work.step, key=work.key, run=work.run, inputs=work.inputs)


def _write_ticket(work: TaskContext) -> None:
    ticket = Ticket(model=work.run.model, run_id=work.run.run_id, step=work.step, folder=work.run.folder)
    documents.write(work.store, f"jobs/{work.key}/ticket.json", ticket)


def resources_of(work: TaskContext) -> Resources:
    return merged(work.run.platform.spark, work.run.spec.spark)


def _settings(work: TaskContext, log: Logger) -> dict[str, str]:
    resources, limits = resources_of(work), work.run.platform.spark.limits
    asked = settings(resources, limits)
    deaths = sum(failure.cause == "memory" for failure in _failures(work))
    factor = (RETRY_MEMORY if resources.retry_memory is None else resources.retry_memory) ** deaths
    grown = settings(resources, limits, factor)
    for name in sorted(name for name in grown if grown[name] != asked[name]):
        log.info("%s: %s is %s now, not %s: %d earlier died for want of memory", work.step, name, grown[name], asked[name], deaths)
    return grown


def _failures(work: TaskContext) -> list[Failure]:
    """Of this step in this run, whatever their keys."""
    names = work.store.names(work.run.folder)
    mine = [name for name in names if name.startswith(f"{work.step}-") and name.endswith(".failed.json")]
    return [documents.read(work.store, f"{work.run.folder}/{name}", Failure) for name in mine]


def _ended(found: list[Application]) -> bool:
    return all(each.phase == "ended" for each in found)


def _end_overdue(work: TaskContext, engine: Engine, found: list[Application]) -> None:
    """A job ends itself at its time limit; this is for one that cannot any more."""
    limit = resources_of(work).time_limit or work.run.spec.deadline
    for each in found:
        if each.phase == "running" and each.seconds > 1.1 * limit.total_seconds() + 60:
            engine.stop(each.id)
            raise OutOfTime(
                f"{work.step} ran longer than its time limit, {format_duration(limit)}, and was stopped: see {each.link}"
            )


def _accept(work: TaskContext, engine: Engine, found: list[Application], log: Logger) -> JobState:
    """Of several that carry the key one has done the work: what counts is what it left."""
    _tell_cost(work, found, log)
    if work.store.read(work.path) is not None:
        return JobState(work.path, found[-1].link if found else "")
    failure = documents.find(work.store, work.beside("error"), Failure)
    if failure is None:
        last = found[-1]
        raise diagnose(work.step, last, engine.logs(last.id))
    kinds = {cause: kind for kind, cause in CAUSES.items()}
    raise kinds.get(failure.cause, EngineTrouble)(failure.reason)


def _tell_cost(work: TaskContext, found: list[Application], log: Logger) -> None:
    hours, price = sum(each.vcpu_hours or 0 for each in found), work.run.platform.spark.price
    if hours:
        cost = f", about {price * hours:.2f} at {price:g} an hour" if price is not None else ""
        log.info("%s took %.3f vCPU-hours%s", work.step, hours, cost)
