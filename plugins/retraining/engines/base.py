"""The interface of the engines that run Spark jobs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from contract.documents import JobRequest, RunDocument
from contract.keys import digest_of
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.task_log import Log

Phase = Literal["queued", "running", "ended"]
ClusterPhase = Literal["starting", "ready", "ended"]  # ready: it takes jobs


class EngineAway(EngineTrouble):
    """The engine is temporarily unavailable; that says nothing about any job."""


class JobTags(NamedTuple):
    """Tags to find a job by: its key, its step of its run whatever the key, and its store."""

    key: str
    job: str
    store: str

    @classmethod
    def of(cls, request: JobRequest) -> "JobTags":
        root, folder = request.run.platform.store, request.run.folder
        return cls(request.key, f"job:{digest_of([root, folder, request.job])[:16]}", store_tag(root))


def store_tag(root: str) -> str:
    """Common to all jobs of one installation."""
    return f"store:{digest_of(root)[:16]}"


class Job(NamedTuple):
    """One Spark job. `path`: of its request in the store; `claim`: number of the next free claim."""

    request: JobRequest
    path: str
    claim: int
    settings: Mapping[str, str]

    @property
    def tags(self) -> JobTags:
        return JobTags.of(self.request)

    @property
    def yarn_tags(self) -> str:
        """Value of spark.yarn.tags, with readable tags added."""
        return ",".join([*self.tags, f"model:{self.request.run.model}", f"step:{self.request.job}"])

    @property
    def name(self) -> str:
        return f"{self.request.run.model} {self.request.job}"

    @property
    def arguments(self) -> list[str]:
        """Command line arguments of spark_jobs/run.py."""
        root = self.request.run.platform.store
        return [self.request.job, "--store", root, "--request", self.path, "--claim", str(self.claim)]


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
    def key(self) -> str:
        return next((tag for tag in self.tags if re.fullmatch(r"[0-9a-f]{32}", tag)), "")


class Cluster(NamedTuple):
    """A run's own cluster. `state` and `reason`: the engine's words for its phase."""

    id: str
    phase: ClusterPhase
    state: str
    reason: str
    created: datetime


class Engine(Protocol):
    """Every method may raise EngineAway."""

    holds_slot: bool  # the job runs below the task's process, which waits for it and ends it

    def of_run(self, run: RunDocument) -> "Engine":
        """The engine for one run's jobs, where each run has its own cluster."""
        return self

    def find(self, tag: str, live: bool = False) -> list[Application]:
        """Applications with this tag, oldest first; `live`: only those that have not ended."""

    def submit(self, job: Job, log: Log) -> str:
        """Id of the application. Raises EngineTrouble if it was refused. A process killed here may still have submitted it."""

    def state(self, id: str) -> Application: ...

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
