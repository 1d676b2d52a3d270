"""Finds a step's Spark job or submits it once, in one application with those after it; no engine needs its own crash handling.

Stateless between pokes: the store has the job's documents, the engine its live applications, and both are found by the key.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import takewhile
from typing import NamedTuple

from contract import documents
from contract.base_model import Versioned, format_duration
from contract.documents import CAUSES, JOBS, Claim, Failure, JobRequest, JobStart
from contract.errors import OutOfTime, RetrainingError, StoreError
from contract.paths import FileName, JobFiles, StoreLayout
from contract.spark import Resources, merged, settings
from plugins.retraining.context import TaskContext
from plugins.retraining.engines.base import Application, Engine, EngineAway, PreparedJob, Submission, run_tag
from plugins.retraining.engines.diagnosis import diagnose
from plugins.retraining.errors import EngineTrouble, GivenUp
from plugins.retraining.spark.task_states import WAITING, States
from plugins.retraining.task_log import Log

POLL_S = 0.5  # for a job on this host
ELSEWHERE_S = 80  # an application's lease of a minute, and its end
RETRY_MEMORY = 1.5
TRIES = 3


class Ticket(Versioned):
    """The task that a job belongs to, stored by its key in `jobs/<key>/ticket.json`."""

    model: str
    run_id: str
    step: str
    folder: str


class JobState(NamedTuple):
    """`path`: of the job's document, None while it runs; `application`: the id of the one that does it, and `link`: to it;
    `seconds`: the job's age.
    """

    path: str | None
    application: str = ""
    link: str = ""
    seconds: float = 0.0


def poke(task: TaskContext, engine: Engine, states: States, log: Log) -> JobState:
    """Finds the job or submits it, with those after it whose tasks wait for them by Airflow's `states`.

    Raises BadData, OutOfMemory, OutOfTime or EngineTrouble with the job's own reason; the recorded failure gives the next
    try a new key. EngineAway and StoreError say nothing about the job, which may still succeed.
    """
    with failures_recorded(task):
        if state := _find(task, engine, log):
            return state
        application = submit(task, engine, states, log)
        return JobState(None, application.id, application.link)


def wait(task: TaskContext, engine: Engine, meanwhile: Callable[[], None], log: Log) -> JobState:
    """Waits in this process, and keeps the application alive: until the job has left its document, or nothing is known of it.

    The next poke then decides anew: it may have been stopped, because its run was cleared.
    """
    with failures_recorded(task):
        while (state := _find(task, engine, log)) and state.path is None:
            engine.renew(state.application)
            meanwhile()
            time.sleep(POLL_S)
    return state or JobState(None)


@contextmanager
def failures_recorded(task: TaskContext) -> Iterator[None]:
    try:
        yield
    except (StoreError, EngineAway):
        raise
    except RetrainingError as error:
        record_failure_or_end(task, error)
        raise


def record_failure_or_end(task: TaskContext, why: RetrainingError) -> None:
    """A late job of this key does nothing, and the next try has a new key. Raises GivenUp after the last try; these are not counted
    by Airflow's tries, which include lost pokes.
    """
    documents.write(task.store, task.beside("failed"), Failure.of(task.step, why))
    if task.attempt.failed + 1 >= TRIES:
        raise GivenUp(f"{why} (it failed {TRIES} times: clear the task when the cause is fixed)") from why


def _find(task: TaskContext, engine: Engine, log: Log) -> JobState | None:
    """State from the job's documents or from the engine's applications; None where neither knows it."""
    if task.store.read(task.path) is not None or documents.find(task.store, task.beside("error"), Failure):
        return _accept(task, engine, _known_applications(task, engine), log)
    applications = engine.find(task.key)
    if not applications:
        return None
    if all(application.phase == "ended" for application in applications):
        return _accept(task, engine, applications, log)
    age_s = _stop_overdue(task, engine, applications)
    return JobState(None, applications[-1].id, applications[-1].link, age_s)


def _known_applications(task: TaskContext, engine: Engine) -> list[Application]:
    """Only for the log and the link: the job has ended."""
    try:
        return engine.find(task.key)
    except EngineAway:
        return []


def submit(task: TaskContext, engine: Engine, states: States, log: Log) -> Application:
    """Stops the run's other applications, whose jobs failed or were cleared, before it submits."""
    for older in engine.find(run_tag(task.run), live=True):
        log.info("%s belongs to an earlier try: stopped", older.id)
        engine.stop(older.id)
    awaited = takewhile(lambda later: states[later.step] in WAITING, task.later_jobs() if engine.carries_run else ())
    jobs = [prepared(job) for job in (task, *awaited)]
    if engine.waits_in_task:
        _await_end_elsewhere(task, jobs[0].claim, log)
    submission = Submission(jobs, _settings(task, log))
    submitted = engine.state(engine.submit(submission, log))
    log.info("%s: submitted as %s %s", submission.steps, submitted.id, submitted.link)
    return submitted


def prepared(job: TaskContext) -> PreparedJob:
    """With its ticket and its request in the store."""
    ticket = Ticket(model=job.run.model, run_id=job.run.run_id, step=job.step, folder=job.run.folder)
    documents.write(job.store, StoreLayout.ticket(job.key), ticket)
    request = JobRequest.model_validate({"job": job.step, "key": job.key, "run": job.run, "inputs": job.inputs})
    path = documents.write(job.store, job.beside("request"), request)
    names = map(FileName.parse, job.store.names(job.run.folder))
    claims = sum(name is not None and name[:3] == (job.step, job.key, "claim") for name in names)
    return PreparedJob(request, path, claims)


def _await_end_elsewhere(task: TaskContext, claims: int, log: Log) -> None:
    """An application that another host started cannot be seen from here: it ends when nobody has renewed its lease for a minute."""
    last = claims and documents.find(task.store, task.beside(f"claim-{claims - 1}"), Claim)
    if last and last.host != socket.gethostname():
        log.info("%s was begun on %s: waiting until it has surely ended there", task.step, last.host)
        time.sleep(ELSEWHERE_S)


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
    """Of all jobs of this run, whatever their keys: they share their application's memory."""
    names = filter(None, map(FileName.parse, task.store.names(task.run.folder)))
    failed = [JobFiles(task.run.folder, name.step, name.key) for name in names if name.step in JOBS and name.kind == "failed"]
    return [documents.read(task.store, files.beside("failed"), Failure) for files in failed]


def _stop_overdue(task: TaskContext, engine: Engine, applications: list[Application]) -> float:
    """The job's age in seconds. Stops one that did not end itself at its time limit, and raises OutOfTime."""
    limit = resources_of(task).time_limit or task.run.spec.deadline
    start = documents.find(task.store, task.beside("started"), JobStart)
    since_start = max(0.0, (datetime.now(UTC) - start.time).total_seconds()) if start else None
    ages = [application.seconds if since_start is None else since_start for application in applications]
    for application, age_s in zip(applications, ages, strict=True):
        jobs = 1 if start else max(1, len(application.keys))  # it may still be at an earlier one
        if application.phase == "running" and age_s > jobs * (1.1 * limit.total_seconds() + 60):
            engine.stop(application.id)
            raise OutOfTime(
                f"{task.step} ran longer than its time limit, {format_duration(limit)}, and was stopped: "
                f"raise spark.time_limit, or give it more executors; see {application.link or 'its log'}"
            )
    return ages[-1]


def _accept(task: TaskContext, engine: Engine, applications: list[Application], log: Log) -> JobState:
    """The document decides: of several applications with the key only one did the job."""
    if task.store.read(task.path) is not None:
        if not any(later.key in application.keys for later in task.later_jobs() for application in applications):
            _log_cost(task, applications, log)
        return JobState(task.path, link=applications[-1].link if applications else "")
    _log_cost(task, applications, log)
    failure = documents.find(task.store, task.beside("error"), Failure)
    if failure is None:
        last = applications[-1]
        raise diagnose(task.step, last, engine.logs(last.id))
    raise CAUSES.get(failure.cause, EngineTrouble)(failure.reason)


def _log_cost(task: TaskContext, applications: list[Application], log: Log) -> None:
    """Told once of each application: by the task of its last job, or of the one that failed."""
    hours, price = sum(application.vcpu_hours or 0 for application in applications), task.run.platform.spark.price
    if hours:
        cost = f", about {price * hours:.2f} at {price:g} an hour" if price is not None else ""
        log.info("the application of %s took %.3f vCPU-hours%s", task.step, hours, cost)
