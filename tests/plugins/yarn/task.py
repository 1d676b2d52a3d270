"""One task of a run on a real YARN, as the tests poke it, kill what it started, and count what was done."""

import logging
import time
from functools import partial
from pathlib import Path

from contract.documents import RunDocument
from contract.spark import Spark
from contract.store.base import Store
from plugins.retraining.context import TaskContext
from plugins.retraining.engines.base import Application, EngineAway, Submission, store_tag
from plugins.retraining.engines.yarn import YarnEngine
from plugins.retraining.spark.job_runner import poke, prepared
from plugins.retraining.spark.task_states import States
from tests.hadoop_cluster import Cluster
from tests.plugins.late import ALONE, WHOLE_RUN
from tests.plugins.stand_in_job import signals
from tests.waiting import until

JOB = Path(__file__).parents[1] / "stand_in_job.py"
LOG = logging.getLogger("retraining.test")
PATIENCE_S = 150
wait_for = partial(until, seconds=PATIENCE_S, every_s=0.5)


class Task:
    """What one task of a run does, over any number of pokes and tries; each poke uses a new engine."""

    def __init__(
        self, cluster: Cluster, store: Store, run: RunDocument, step: str = "validate", inputs: dict[str, str] | None = None
    ) -> None:
        self.cluster, self.store, self.run = cluster, store, run
        self.clear_number = 0
        self.step, self.inputs = step, inputs or {}
        self.states: States = ALONE

    def following(self) -> "Task":
        """The next task of the run, which has this one's document."""
        later = next(self.task_context().later_jobs())
        task = Task(self.cluster, self.store, self.run, later.step, later.inputs)
        task.clear_number = self.clear_number
        return task

    @property
    def spark(self) -> Spark:
        return self.run.platform.spark

    @property
    def engine(self) -> YarnEngine:
        """A new one, whose jobs run the stand-in."""
        return YarnEngine(self.spark, JOB)

    def task_context(self) -> TaskContext:
        return TaskContext(self.step, self.run, self.store, self.inputs, self.clear_number)

    def poke_once(self) -> str | None:
        return poke(self.task_context(), self.engine, self.states, LOG).path

    def end(self) -> str:
        """Pokes as Airflow does, until there is a document."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                if path := self.poke_once():
                    return path
            except EngineAway:
                pass
            time.sleep(1)
        raise AssertionError(f"no result in {PATIENCE_S} s: {self.applications()}")

    def applications(self, key: str = "", live: bool = False) -> list[Application]:
        return self.engine.find(key or self.task_context().key, live)

    def is_at_work(self, key: str = "") -> bool:
        return bool(self.store.names(f"worked/{key or self.task_context().key}"))

    def go(self) -> None:
        self.store.create(f"{signals(self.run)}/go", b"")

    def stop_all(self) -> None:
        """Whatever runs in this store."""
        tag = store_tag(self.store.root)
        for application in self.applications(tag, live=True):
            self.engine.stop(application.id)
        wait_for(lambda: not self.applications(tag, live=True), "none is left over")

    def submission(self) -> Submission:
        task = self.task_context()
        jobs = [task, *task.later_jobs()] if self.states == WHOLE_RUN else [task]
        return Submission([prepared(job) for job in jobs], self.run.platform.spark.conf)

    def assert_done_once(self, key: str = "") -> None:
        """One application worked, and nothing lives that carries the key."""
        key = key or self.task_context().key
        self.assert_worked_once(key)
        wait_for(lambda: not self.applications(key, live=True), "none is left over")

    def assert_worked_once(self, key: str = "") -> None:
        assert len(self.store.names(f"worked/{key or self.task_context().key}")) == 1
        assert self.end_is_there()

    def end_is_there(self) -> bool:
        return self.store.read(self.task_context().path) is not None
