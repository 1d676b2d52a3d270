"""A stand-in for Spark that leaves the documents of its jobs, at once."""

from collections import defaultdict
from dataclasses import replace

from contract import documents
from contract.documents import Failure, JobRequest
from contract.store.factory import store_at
from plugins.retraining.engines.base import Application, Engine, Submission
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.task_log import Log
from tests.plugins.stand_in_job import INTERVALS, leave


class FakeEngine(Engine):
    """Does what `behaviour` says for a job: a key of INTERVALS (any job is well then), "bad data", "fails", "dies", "is lost"."""

    waits_in_task = carries_run = True

    def __init__(self, **behaviour: str) -> None:
        self.behaviour = defaultdict(lambda: "well", behaviour)
        self.ran: list[str] = []
        self.submissions: list[str] = []
        self.applications: dict[str, Application] = {}

    def find(self, tag: str, live: bool = False) -> list[Application]:
        return [] if live else [application for application in self.applications.values() if tag in application.tags]

    def submit(self, submission: Submission, log: Log) -> str:
        if self.behaviour[submission.first.job] == "is lost":
            raise EngineTrouble("the cluster forgot the job; clear this task")
        self.submissions.append(submission.steps)
        id = f"application_{len(self.submissions)}"
        self.applications[id] = Application(id, "ended", tags=frozenset(submission.tags))
        self.applications[id] = replace(self.applications[id], diagnostics=f"exit code {self._do(submission)}")
        return id

    def _do(self, submission: Submission) -> int:
        store = store_at(submission.run.platform.store)
        for job in submission.jobs:
            self.ran.append(job.request.job)
            code = self._leave(documents.read(store, job.path, JobRequest))
            if code:
                return code
        return 0

    def _leave(self, request: JobRequest) -> int:
        """What the job leaves in the store, and its exit code."""
        store, behaviour = store_at(request.run.platform.store), self.behaviour[request.job]
        if behaviour in INTERVALS:
            leave(request, store, behaviour)
            return 0
        if behaviour == "dies":
            return 137
        bad = behaviour == "bad data"
        reason = "parcels: 3 of 5 rows have no weight" if bad else "the disk is full: free space, then clear this task"
        failure = Failure(step=request.job, reason=reason, cause="data" if bad else "transient")
        documents.write(store, request.files.beside("error"), failure)
        return 3 if bad else 1

    def state(self, id: str) -> Application:
        return self.applications[id]

    def stop(self, id: str) -> None: ...

    def logs(self, id: str) -> list[str]:
        return []
