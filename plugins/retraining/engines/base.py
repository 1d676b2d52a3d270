"""Where Spark jobs run: one small interface, one module for each place."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from logging import Logger
from typing import Literal, NamedTuple, Protocol

from contract.documents import JobRequest, RunDocument
from contract.keys import digest_of
from plugins.retraining.errors import EngineTrouble

Phase = Literal["queued", "running", "ended"]


class EngineAway(EngineTrouble):
    """The engine does not answer just now; that says nothing about any job."""


class JobTags(NamedTuple):
    """What a job is found by: its key; where it belongs, whatever its key; and whose it is."""

    key: str
    job: str
    store: str

    @classmethod
    def of(cls, request: JobRequest) -> "JobTags":
        root, folder = request.run.platform.store, request.run.folder
        return cls(request.key, f"job:{digest_of([root, folder, request.job])[:16]}", store_tag(root))


def store_tag(root: str) -> str:
    """Of every job of one installation."""
    return f"store:{digest_of(root)[:16]}"


class Job(NamedTuple):
    """One Spark job. `path` is its request's in the store; `claim` is the number of the claim that is still free."""

    request: JobRequest
    path: str
    claim: int
    settings: Mapping[str, str]

    @property
    def tags(self) -> JobTags:
        return JobTags.of(self.request)

    @property
    def yarn_tags(self) -> str:
        """With readable ones, as spark.yarn.tags."""
        return ",".join([*self.tags, f"model:{self.request.run.model}", f"step:{self.request.job}"])

    @property
    def name(self) -> str:
        return f"{self.request.run.model} {self.request.job}"

    @property
    def arguments(self) -> list[str]:
        """Of spark_jobs/run.py."""
        root = self.request.run.platform.store
        return [self.request.job, "--store", root, "--request", self.path, "--claim", str(self.claim)]


@dataclass(frozen=True)
class Application:
    """A job as its engine sees it. `said` is how it ended, in the engine's own words; `seconds` since it was started."""

    id: str
    phase: Phase
    said: str = ""
    seconds: float = 0.0
    link: str = ""
    vcpu_hours: float | None = None
    tags: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        return next((tag for tag in self.tags if re.fullmatch(r"[0-9a-f]{32}", tag)), "")


class Engine(Protocol):
    """All of it may raise EngineAway."""

    holds_slot: bool  # a job lives and dies with its task, which waits for it in its own process

    def of_run(self, run: RunDocument) -> "Engine":
        """The same for the jobs of one run, where these have a place of their own."""
        return self

    def find(self, tag: str, live: bool = False) -> list[Application]:
        """Those with this tag, the oldest first; `live`: only what has not ended."""

    def submit(self, job: Job, log: Logger) -> str:
        """Id of the application. Raises EngineTrouble if it was refused; a process that dies here may still have submitted it."""

    def state(self, id: str) -> Application: ...

    def stop(self, id: str) -> None:
        """Ends it with all of its processes; harmless for one that has ended."""

    def logs(self, id: str) -> list[str]:
        """The driver's last lines, as far as they can still be had."""
