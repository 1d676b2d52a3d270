"""Finds a step's Spark job or submits it once; no engine needs its own crash handling.

Stateless between pokes: the store has the job's documents, the engine its live applications, and both are found by the key.
"""

import time
from typing import NamedTuple

from contract import documents
from contract.base_model import Versioned, format_duration
from contract.documents import CAUSES, Failure, JobRequest
from contract.errors import OutOfTime, RetrainingError, StoreError
from contract.paths import FileName, JobFiles, StoreLayout
from contract.spark import Resources, merged, settings
from plugins.retraining.context import TaskContext
from plugins.retraining.engines.base import Application, Engine, EngineAway, Job, JobTags
from plugins.retraining.engines.diagnosis import diagnose
from plugins.retraining.errors import EngineTrouble, GivenUp
from plugins.retraining.task_log import Log

POLL_S = 0.2  # for a job on this host
RETRY_MEMORY = 1.5
TRIES = 3


class Ticket(Versioned):
    """The task that a job belongs to, stored by its key in `jobs/<key>/ticket.json`."""

    model: str
    run_id: str
    step: str
    folder: str


class JobState(NamedTuple):
    """`path`: of the job's document, None while it runs; `link`: to the application; `seconds`: its age."""

    path: str | None
    link: str = ""
    seconds: float = 0.0


def poke(task: TaskContext, engine: Engine, log: Log) -> JobState:
    """Raises BadData, OutOfMemory, OutOfTime or EngineTrouble with the job's own reason; the recorded failure gives the next
    try a new key. EngineAway and StoreError say nothing about the job, which may still succeed.
    """
    try:
        return _find_or_submit(task, engine, log)
    except (StoreError, EngineAway):
        raise
    except RetrainingError as error:
        record_failure_or_end(task, error)
        raise


def record_failure_or_end(task: TaskContext, why: RetrainingError) -> None:
    """Raises GivenUp after the last try. Not counted by Airflow's tries, which include lost pokes."""
    record_failure(task, why)
    if task.attempt.failed + 1 >= TRIES:
        raise GivenUp(f"{why} (it failed {TRIES} times: clear the task when the cause is fixed)") from why


def record_failure(task: TaskContext, why: RetrainingError) -> None:
    """Records the failure: a late job of this key does nothing, and the next try has a new key."""
    documents.write(task.store, task.beside("failed"), Failure.of(task.step, why))


def _find_or_submit(task: TaskContext, engine: Engine, log: Log) -> JobState:
    """State from the job's documents, from the engine's applications, or from a new submission."""
    if task.store.read(task.path) is not None:
        log.info("%s exists already: reused", task.path)
        return _accept(task, engine, _ended_applications(task, engine), log)
    if documents.find(task.store, task.beside("error"), Failure):
        return _accept(task, engine, [], log)
    applications = engine.find(task.key)
    if engine.holds_slot:
        _await(engine, applications)  # left by a killed task; it ends by itself within moments
        applications = _await(engine, [submit(task, engine, log)])
    elif not applications:
        applications = [submit(task, engine, log)]
    if _ended(applications):
        return _accept(task, engine, applications, log)
    _stop_overdue(task, engine, applications)
    return JobState(None, applications[-1].link, applications[-1].seconds)


def _ended_applications(task: TaskContext, engine: Engine) -> list[Application]:
    """Only for the log and the link: the job is done."""
    try:
        return engine.find(task.key)
    except EngineAway:
        return []


def _await(engine: Engine, applications: list[Application]) -> list[Application]:
    while not _ended(applications):
        time.sleep(POLL_S)
        applications = [engine.state(application.id) for application in applications]
    return applications


def stop(task: TaskContext, engine: Engine) -> None:
    """For an engine whose job must end with its task; the key is not used again."""
    for application in engine.find(task.key, live=True):
        engine.stop(application.id)
    record_failure(task, EngineTrouble(f"{task.step} was stopped with its task"))


def submit(task: TaskContext, engine: Engine, log: Log) -> Application:
    """Stops jobs of earlier tries of this step, which failed or were cleared, before it submits."""
    request = _request(task)
    for older in engine.find(JobTags.of(request).job, live=True):
        log.info("%s belongs to an earlier try: stopped", older.id)
        engine.stop(older.id)
    _write_ticket(task)
    path = documents.write(task.store, task.beside("request"), request)
    names = map(FileName.parse, task.store.names(task.run.folder))
    claims = sum(name is not None and name[:3] == (task.step, task.key, "claim") for name in names)
    id = engine.submit(Job(request, path, claims, _settings(task, log)), log)
    started = engine.state(id)
    log.info("%s: submitted as %s %s", task.step, id, started.link)
    return started


def _request(task: TaskContext) -> JobRequest:
    return JobRequest.model_validate({"job": task.step, "key": task.key, "run": task.run, "inputs": task.inputs})


def _write_ticket(task: TaskContext) -> None:
    ticket = Ticket(model=task.run.model, run_id=task.run.run_id, step=task.step, folder=task.run.folder)
    documents.write(task.store, StoreLayout.ticket(task.key), ticket)


def resources_of(task: TaskContext) -> Resources:
    return merged(task.run.platform.spark, task.run.spec.spark)


def _settings(task: TaskContext, log: Log) -> dict[str, str]:
    resources, limits = resources_of(task), task.run.platform.spark.limits
    initial = settings(resources, limits)
    deaths = sum(failure.cause == "memory" for failure in _failures(task))
    factor = (RETRY_MEMORY if resources.retry_memory is None else resources.retry_memory) ** deaths
    grown = settings(resources, limits, factor)
    for name in sorted(name for name in grown if grown[name] != initial[name]):
        log.info("%s: %s is now %s, was %s: %d earlier job(s) out of memory", task.step, name, grown[name], initial[name], deaths)
    return grown


def _failures(task: TaskContext) -> list[Failure]:
    """All of this step in this run, whatever their keys."""
    names = filter(None, map(FileName.parse, task.store.names(task.run.folder)))
    mine = [JobFiles(task.run.folder, name.step, name.key) for name in names if (name.step, name.kind) == (task.step, "failed")]
    return [documents.read(task.store, files.beside("failed"), Failure) for files in mine]


def _ended(applications: list[Application]) -> bool:
    return all(application.phase == "ended" for application in applications)


def _stop_overdue(task: TaskContext, engine: Engine, applications: list[Application]) -> None:
    """Stops a job that did not end itself at its time limit. Raises OutOfTime."""
    limit = resources_of(task).time_limit or task.run.spec.deadline
    for application in applications:
        if application.phase == "running" and application.seconds > 1.1 * limit.total_seconds() + 60:
            engine.stop(application.id)
            raise OutOfTime(
                f"{task.step} ran longer than its time limit, {format_duration(limit)}, and was stopped: "
                f"raise spark.time_limit, or give it more executors; see {application.link or 'its log'}"
            )


def _accept(task: TaskContext, engine: Engine, applications: list[Application], log: Log) -> JobState:
    """The document decides: of several applications with the key only one did the job."""
    _log_cost(task, applications, log)
    if task.store.read(task.path) is not None:
        return JobState(task.path, applications[-1].link if applications else "")
    failure = documents.find(task.store, task.beside("error"), Failure)
    if failure is None:
        last = applications[-1]
        raise diagnose(task.step, last, engine.logs(last.id))
    raise CAUSES.get(failure.cause, EngineTrouble)(failure.reason)


def _log_cost(task: TaskContext, applications: list[Application], log: Log) -> None:
    hours, price = sum(application.vcpu_hours or 0 for application in applications), task.run.platform.spark.price
    if hours:
        cost = f", about {price * hours:.2f} at {price:g} an hour" if price is not None else ""
        log.info("%s took %.3f vCPU-hours%s", task.step, hours, cost)
