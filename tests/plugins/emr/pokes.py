"""How these tests poke a job of a run on EMR: each time as a new process would."""

import logging
from collections.abc import Callable
from functools import partial

from plugins.retraining.context import TaskContext
from plugins.retraining.engines import engine_for
from plugins.retraining.engines.base import Engine, Submission
from plugins.retraining.spark.job_runner import poke, prepared
from tests.plugins.late import ALONE
from tests.waiting import until

LOG = logging.getLogger("retraining.test")
PATIENCE_S = 30
wait_for = partial(until, seconds=PATIENCE_S)
MakeTask = Callable[..., TaskContext]


def engine_of(task: TaskContext) -> Engine:
    return engine_for(task.run.platform.spark).of_run(task.run)


def submission_of(task: TaskContext) -> Submission:
    return Submission([prepared(task)], task.run.platform.spark.conf)


def stop(task: TaskContext) -> None:
    engine = engine_of(task)
    for application in engine.find(task.key, live=True):
        engine.stop(application.id)


def end(make: MakeTask) -> str:
    """Pokes as Airflow does, each time by a new engine, until there is a document."""
    return wait_for(lambda: poke(make(), engine_of(make()), ALONE, LOG).path, "the job's document")
