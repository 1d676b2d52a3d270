"""Orphans: jobs on the cluster that no task waits for any more (task marked failed, run deleted or cleared)."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from contract import documents
from contract.paths import JobFiles, StoreLayout
from contract.store.base import Store
from plugins.retraining.engines.base import Application, Engine, store_tag
from plugins.retraining.spark.job_runner import Ticket

# States of a task that waits, runs or will run; in any other state nothing will poke its job again.
WAITING = {None, "none", "scheduled", "queued", "running", "restarting", "up_for_retry", "up_for_reschedule", "deferred"}
States = Callable[[str, str, str], str | None]  # model, run, step: Airflow's state of the task, "removed" where there is none


class Orphan(NamedTuple):
    application: Application
    why: str


def stop_orphans(store: Store, engine: Engine, state_of: States) -> list[Orphan]:
    """The jobs that were stopped. A job without a ticket is not of this store, whatever its tags."""
    stopped = list(orphans(store, engine, state_of))
    for orphan in stopped:
        engine.stop(orphan.application.id)
    return stopped


def orphans(store: Store, engine: Engine, state_of: States) -> Iterator[Orphan]:
    for application in engine.find(store_tag(store.root), live=True):
        ticket = documents.find(store, StoreLayout.ticket(application.key), Ticket)
        if ticket is None:
            continue
        state = state_of(ticket.model, ticket.run_id, ticket.step)
        named = f"{ticket.model} {ticket.step} of {ticket.run_id}"
        if state not in WAITING:
            yield Orphan(application, f"{named} is {state}")
        elif JobFiles(ticket.folder, ticket.step, application.key).name("failed") in store.names(ticket.folder):
            yield Orphan(application, f"{named} was recorded as failed")
