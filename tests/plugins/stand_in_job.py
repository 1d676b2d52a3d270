"""In the place of spark_jobs/run.py, on this host and on a real YARN: claims and tells as that does, without Spark.

Each job's work is a mark, `worked/<key>/<holder>`, and what STAND_IN says, such as "well" or "train=waits,compare=dies". One that
waits goes on when `go` or `go-<job>` is among its run's signals in the store.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from contract.comparison import Comparison, Interval, MetricResult, Parity, ReferenceComparison
from contract.documents import JobRequest, RunDocument, Snapshot, Training, ValidationReport, write
from contract.errors import BadData, TransientError
from contract.store.base import Store

if TYPE_CHECKING:
    from spark_jobs import run

VERSION = 7
LONGEST_S = 180
INTERVALS = {  # of the improvement in log loss, where a margin of 0.01 is allowed
    "well": (0.004, 0.001, 0.007),
    "worse": (-0.04, -0.06, -0.02),
    "unclear": (0.0, -0.05, 0.05),
}


def work(application: "run.SparkApplication", request: JobRequest) -> None:
    from spark_jobs.runtime.claims import holder  # not where Airflow's tests take only the documents from here

    store, behaviour = application.store, behaviour_of(request.job)
    store.create(f"worked/{request.key}/{holder()}", b"")
    print(f"{request.job}: at work as process {os.getpid()}", flush=True)
    print("WARN something of Spark's", file=sys.stderr, flush=True)
    BEHAVIOURS.get(behaviour, lambda request, store: None)(request, store)
    leave(request, store, behaviour if behaviour in INTERVALS else "well")
    print(f"{request.job}: done", flush=True)


def behaviour_of(job: str) -> str:
    by_job = dict(part.split("=") if "=" in part else ("", part) for part in os.environ.get("STAND_IN", "well").split(","))
    return by_job.get(job, by_job.get("", "well"))


def leave(request: JobRequest, store: Store, interval: str = "well") -> None:
    write(store, request.files.document, DOCUMENTS[request.job](request, interval))


def signals(run: RunDocument) -> str:
    """Their folder."""
    return f"signals/{run.folder}"


def waits(request: JobRequest, store: Store) -> None:
    until = time.monotonic() + LONGEST_S
    while not {"go", f"go-{request.job}"} & set(store.names(signals(request.run))) and time.monotonic() < until:
        time.sleep(0.5)


def hangs(request: JobRequest, store: Store) -> None:
    time.sleep(60)


def finds_bad_data(request: JobRequest, store: Store) -> None:
    raise BadData("parcels: 3 of 5 rows have no weight")


def fails(request: JobRequest, store: Store) -> None:
    raise TransientError("the disk is full: free space, then clear this task")


def dies(request: JobRequest, store: Store) -> None:
    os._exit(137)


def eats_memory(request: JobRequest, store: Store) -> None:
    eaten = []
    while True:
        eaten.append(b"x" * 50_000_000)
        time.sleep(0.05)


def tells_its_environment(request: JobRequest, store: Store) -> None:
    print(" ".join(sorted(name for name in os.environ if "AIRFLOW" in name)) or "nothing of Airflow", flush=True)


BEHAVIOURS: dict[str, Callable[[JobRequest, Store], None]] = {
    "waits": waits,
    "hangs": hangs,
    "bad data": finds_bad_data,
    "fails": fails,
    "dies": dies,
    "eats memory": eats_memory,
    "tells": tells_its_environment,
}


def validation(request: JobRequest, interval: str) -> ValidationReport:
    snapshot = Snapshot(uri="file:/snapshot", fingerprint="f1", rows={"parcels": 5}, as_of=request.run.as_of)
    return ValidationReport(snapshot=snapshot, checks=(), seconds=1)


def training(request: JobRequest, interval: str) -> Training:
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


def comparison(request: JobRequest, interval: str) -> Comparison:
    value, low, high = INTERVALS[interval]
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

if __name__ == "__main__":
    from spark_jobs import run

    run.SparkApplication.work = work
    sys.exit(run.main(sys.argv[1:]))
