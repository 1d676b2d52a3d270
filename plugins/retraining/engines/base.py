"""The interface of the engines that run Spark jobs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from contract.documents import JobRequest, RunDocument
from contract.keys import digest_of
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.task_log import Log

Phase = Literal["queued", "running", "ended"]
ClusterPhase = Literal["starting", "ready", "ended"]  # ready: it takes jobs
LONGEST_TAG = 100  # characters, by YARN's limit


class EngineAway(EngineTrouble):
    """The engine is temporarily unavailable; that says nothing about any job."""


def store_tag(root: str) -> str:
    """Common to all applications of one installation."""
    return f"store:{digest_of(root)[:16]}"


def run_tag(run: RunDocument) -> str:
    """Common to all applications of one run, whatever their keys."""
    return f"run:{digest_of([run.platform.store, run.folder])[:16]}"


class PreparedJob(NamedTuple):
    """One job of an application. `path`: of its request in the store; `claim`: number of the next free claim of its key."""

    request: JobRequest
    path: str
    claim: int


class Submission(NamedTuple):
    """An application to submit: its jobs in order, all of one run, and the settings of its Spark session."""

    jobs: Sequence[PreparedJob]
    settings: Mapping[str, str]

    @property
    def run(self) -> RunDocument:
        return self.first.run

    @property
    def first(self) -> JobRequest:
        return self.jobs[0].request

    @property
    def tags(self) -> list[str]:
        """What the application is found by: its jobs' keys, its run, its store; and for people its model."""
        keys = [job.request.key for job in self.jobs]
        return [*keys, run_tag(self.run), store_tag(self.run.platform.store), f"model:{self.run.model}"[:LONGEST_TAG]]

    @property
    def steps(self) -> str:
        return "+".join(job.request.job for job in self.jobs)

    @property
    def name(self) -> str:
        return f"{self.run.model} {self.steps}"

    @property
    def arguments(self) -> list[str]:
        """Command line arguments of spark_jobs/run.py."""
        jobs = [part for job in self.jobs for part in ("--job", job.path, str(job.claim))]
        return ["--store", self.run.platform.store, *jobs]


@dataclass(frozen=True)
class Application:
    """A submitted Spark program. `diagnostics`: the engine's text on its state or end; `seconds`: since its start."""

    id: str
    phase: Phase
    diagnostics: str = ""
    seconds: float = 0.0
    link: str = ""
    vcpu_hours: float | None = None
    tags: frozenset[str] = frozenset()

    @property
    def keys(self) -> list[str]:
        """Of its jobs, in no order."""
        return [tag for tag in self.tags if re.fullmatch(r"[0-9a-f]{32}", tag)]


class Cluster(NamedTuple):
    """A run's own cluster. `state` and `reason`: the engine's words for its phase."""

    id: str
    phase: ClusterPhase
    state: str
    reason: str
    created: datetime


class Engine(Protocol):
    """Every method may raise EngineAway."""

    waits_in_task: bool  # the task's process waits for its job, and keeps the application alive meanwhile

    @property
    def carries_run(self) -> bool:
        """Whether the tasks of a run find each other's applications, so that one may do several jobs."""

    def of_run(self, run: RunDocument) -> "Engine":
        """The engine for one run's jobs, where each run has its own cluster."""
        return self

    def find(self, tag: str, live: bool = False) -> list[Application]:
        """Applications with this tag, oldest first; `live`: only those that have not ended."""

    def submit(self, submission: Submission, log: Log) -> str:
        """Id of the application. Raises EngineTrouble if it was refused. A process killed here may still have submitted it."""

    def state(self, id: str) -> Application: ...

    def renew(self, id: str) -> None:
        """A task waits for it: only an engine whose tasks wait in their process needs to know."""
        return None

    def stop(self, id: str) -> None:
        """Ends it with all of its processes; does nothing for one that has ended."""

    def logs(self, id: str) -> list[str]:
        """The driver's last lines, as far as they are available."""


@runtime_checkable
class ClusterEngine(Engine, Protocol):
    """An engine that can create a cluster for a run. Every method may raise EngineAway."""

    def cluster(self, log: Log) -> Cluster:
        """The run's own cluster, created if none is alive. Raises EngineTrouble."""

    def known(self, cluster: str) -> Cluster:
        """The cluster of this id."""

    def end_clusters(self, log: Log) -> None:
        """Terminates all live clusters of this run."""
