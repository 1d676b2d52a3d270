"""A stand-in for Spark that leaves the documents of its jobs, at once."""

from collections import defaultdict

from contract import documents
from contract.comparison import Comparison, Interval, MetricResult, Parity, ReferenceComparison
from contract.documents import Failure, JobRequest, Snapshot, Training, ValidationReport
from contract.store.factory import store_at
from plugins.retraining.engines.base import Application, Engine, Job
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.task_log import Log

VERSION = 7
INTERVALS = {  # of the improvement in log loss, where a margin of 0.01 is allowed
    "well": (0.004, 0.001, 0.007),
    "worse": (-0.04, -0.06, -0.02),
    "unclear": (0.0, -0.05, 0.05),
}


class FakeEngine(Engine):
    """Does what `behaviour` says for a job: a key of INTERVALS (any job is well then), "bad data", "fails", "dies", "is lost"."""

    holds_slot = True

    def __init__(self, **behaviour: str) -> None:
        self.behaviour = defaultdict(lambda: "well", behaviour)
        self.ran: list[str] = []
        self.codes: dict[str, int] = {}

    def find(self, tag: str, live: bool = False) -> list[Application]:
        return []

    def submit(self, job: Job, log: Log) -> str:
        name = job.request.job
        self.ran.append(name)
        if self.behaviour[name] == "is lost":
            raise EngineTrouble("the cluster forgot the job; clear this task")
        store = store_at(job.request.run.platform.store)
        self.codes[name] = leave(documents.read(store, job.path, JobRequest), self.behaviour[name])
        return name

    def state(self, id: str) -> Application:
        return Application(id, "ended", f"exit code {self.codes[id]}")

    def stop(self, id: str) -> None: ...

    def logs(self, id: str) -> list[str]:
        return []


def leave(request: JobRequest, behaviour: str) -> int:
    """What the job leaves in the store, and its exit code."""
    store = store_at(request.run.platform.store)
    prefix = f"{request.run.folder}/{request.job}-{request.key}"
    if behaviour in INTERVALS:
        documents.write(store, f"{prefix}.json", DOCUMENTS[request.job](request, behaviour))
        return 0
    if behaviour == "dies":
        return 137
    bad = behaviour == "bad data"
    reason = "parcels: 3 of 5 rows have no weight" if bad else "the disk is full: free space, then clear this task"
    documents.write(store, f"{prefix}.error.json", Failure(step=request.job, reason=reason, cause="data" if bad else "transient"))
    return 3 if bad else 1


def validation(request: JobRequest, behaviour: str) -> ValidationReport:
    snapshot = Snapshot(uri="file:/snapshot", fingerprint="f1", rows={"parcels": 5}, as_of=request.run.as_of)
    return ValidationReport(snapshot=snapshot, checks=(), seconds=1)


def training(request: JobRequest, behaviour: str) -> Training:
    return Training(
        mlflow_run="r1",
        mlflow_url="http://mlflow.example/#/runs/r1",
        version=VERSION,
        params={},
        train_rows=4,
        holdout_rows=1,
        train_until=None,
        seconds={},
    )


def comparison(request: JobRequest, behaviour: str) -> Comparison:
    value, low, high = INTERVALS[behaviour]
    champion = request.run.champion
    alone = Interval(value=0.3, low=0.2, high=0.4, blocks=14)
    improvement = Interval(value=value, low=low, high=high, blocks=14)
    compared = ReferenceComparison(
        reference="champion" if champion else "baseline",
        version=champion.version if champion else None,
        rows=1,
        metrics=(MetricResult(metric="log_loss", challenger=alone, reference=alone, improvement=improvement),),
    )
    return Comparison(
        version=VERSION,
        comparisons=(compared,),
        anchor=champion and champion.anchor,
        parity=Parity(rows=1, largest=0, labels_differ=0),
        golden=f"{request.run.folder}/golden.json",
        seconds=1,
    )


DOCUMENTS = {"validate": validation, "train": training, "compare": comparison}
