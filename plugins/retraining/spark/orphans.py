"""Orphans: applications on the cluster that no task waits for any more (task marked failed, run deleted or cleared)."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from contract import documents
from contract.documents import JOBS
from contract.paths import JobFiles, StoreLayout
from contract.store.base import Store
from plugins.retraining.engines.base import Application, Engine, store_tag
from plugins.retraining.spark.job_runner import Ticket
from plugins.retraining.spark.task_states import WAITING

StateOf = Callable[[str, str, str], str | None]  # model, run, step: Airflow's state of the task, "removed" where there is none


class Orphan(NamedTuple):
    application: Application
    why: str


class TicketedJob(NamedTuple):
    """A job of an application, and the task that it belongs to."""

    ticket: Ticket
    files: JobFiles


def stop_orphans(store: Store, engine: Engine, state_of: StateOf) -> list[Orphan]:
    """The applications that were stopped. One without tickets is not of this store, whatever its tags."""
    stopped = list(orphans(store, engine, state_of))
    for orphan in stopped:
        engine.stop(orphan.application.id)
    return stopped


def orphans(store: Store, engine: Engine, state_of: StateOf) -> Iterator[Orphan]:
    for application in engine.find(store_tag(store.root), live=True):
        jobs = jobs_of(store, application)
        if why := jobs and reason_to_stop(store, jobs, state_of):
            yield Orphan(application, why)


def jobs_of(store: Store, application: Application) -> list[TicketedJob]:
    """In the order in which the application does them."""
    tickets = ((key, documents.find(store, StoreLayout.ticket(key), Ticket)) for key in application.keys)
    jobs = [TicketedJob(ticket, JobFiles(ticket.folder, ticket.step, key)) for key, ticket in tickets if ticket]
    return sorted(jobs, key=lambda job: list(JOBS).index(job.ticket.step))


def reason_to_stop(store: Store, jobs: list[TicketedJob], state_of: StateOf) -> str:
    """Empty for an application that is waited for: judged by its first job without a document, and ending where all are done."""
    listed = set(store.names(jobs[0].ticket.folder))
    for job in jobs:
        if job.files.name("failed") in listed:
            return f"{_named(job.ticket)} was recorded as failed"
    current = next((job.ticket for job in jobs if job.files.name() not in listed), None)
    state = current and state_of(current.model, current.run_id, current.step)
    return f"{_named(current)} is {state}" if current and state not in WAITING else ""


def _named(ticket: Ticket) -> str:
    return f"{ticket.model} {ticket.step} of {ticket.run_id}"
