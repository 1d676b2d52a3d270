"""One run's Spark part, cold: seconds from spark-submit to compare's document, by today's application and by the bare script of the
same work, in turns, for Spark's boosted trees and for XGBoost's.

`python -m benchmarks.cold` with the demo's services running; a quarter of an hour on two cores.
"""

import json
import shutil
import uuid
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks.figures import keep, spread
from benchmarks.loop import FIRST, bare_seconds, spark_seconds
from benchmarks.timed_model import FOLDER
from contract import documents
from contract.documents import JOBS, JobRequest, JobStart, RunDocument, Training
from contract.paths import JobFiles
from contract.platform import Platform
from contract.spec import ModelSpec, parse_spec
from contract.store.local import LocalStore
from demo.live import Live
from demo.paths import HOME, MODEL, ROOT

RUNS = 3
OUT = ROOT / ".build" / "cold"
GBT = {
    "name": "gbt_classifier",
    "params": {"maxDepth": 5},
    "search": {"grid": {"stepSize": [0.05, 0.1], "maxIter": [20, 40]}},
}


def main() -> None:
    live, results = Live(), {}
    shutil.rmtree(OUT, ignore_errors=True)
    for name, algorithm in {"Spark's boosted trees": GBT, "XGBoost's": None}.items():
        path = spec_file(algorithm)
        results[name] = [measure(live, path, number) for number in range(RUNS)]
        tell(name, results[name])
    keep("cold", results)


def spec_file(algorithm: dict[str, Any] | None) -> Path:
    """The demo's spec with this algorithm, else with its own, beside its SQL."""
    folder = OUT / (algorithm["name"] if algorithm else "own")
    folder.mkdir(parents=True)
    shutil.copy(FOLDER / f"{MODEL}.sql", folder)
    spec = yaml.safe_load((FOLDER / f"{MODEL}.yaml").read_text())
    path = folder / "cold.yaml"  # a name of its own: its versions are not the demo's
    if algorithm:
        del spec["spark"]  # which spares the JVM its optimizing compiler: Spark's trees are fitted there
        spec["algorithm"] = algorithm
    path.write_text(yaml.safe_dump(spec))
    return path


def measure(live: Live, path: Path, number: int) -> dict[str, float]:
    """Each goes first in turn."""
    store = LocalStore(str(OUT / "stores" / uuid.uuid4().hex))
    run = run_document(live.platform, parse_spec(path.read_text(), path), store, FIRST)
    ways = {"bare": lambda: bare_seconds(live, path, HOME / "data", FIRST), "application": lambda: application_seconds(run, store)}
    taken = {way: ways[way]() for way in sorted(ways, reverse=number % 2 == 0)}
    return {**taken, **seconds_by_job(run, store), "log_loss": holdout_loss(run, store)}


def run_document(platform: Platform, spec: ModelSpec, store: LocalStore, as_of: datetime) -> RunDocument:
    """Of a first run. Its id is its jobs' key: a version that was registered by this key would not be trained again."""
    platform = platform.model_copy(update={"store": store.root, "data": str(HOME / "data")})
    suites = {source: json.loads((ROOT / f"expectations/{suite}.json").read_text()) for source, suite in spec.expectations.items()}
    about = {
        "model": "cold",
        "run_id": uuid.uuid4().hex,
        "folder": "runs/cold/1",
        "clear_number": 0,
        "as_of": as_of,
        "backfill": False,
    }
    sql = (FOLDER / f"{MODEL}.sql").read_text()
    about |= {
        "spec": spec,
        "spec_hash": "s",
        "sql": sql,
        "suites": suites,
        "platform": platform,
        "champion": None,
        "code_hash": "c",
    }
    return RunDocument.model_validate(about)


def application_seconds(run: RunDocument, store: LocalStore) -> float:
    """As the local engine submits it: all three jobs."""
    jobs = [part for path in requests_of(run, store) for part in ("--job", path, "0")]
    return spark_seconds(run.platform, run.spec, ROOT / "spark_jobs" / "run.py", "--store", store.root, *jobs)


def requests_of(run: RunDocument, store: LocalStore) -> list[str]:
    paths = {step: JobFiles(run.folder, step, run.run_id).document for step in JOBS}
    requests = [
        JobRequest.model_validate({"job": step, "key": run.run_id, "run": run, "inputs": {name: paths[name] for name in needed}})
        for step, needed in JOBS.items()
    ]
    return [documents.write(store, request.files.beside("request"), request) for request in requests]


def seconds_by_job(run: RunDocument, store: LocalStore) -> dict[str, float]:
    """From the start of each to the start of the next; of compare by its own clock."""
    starts = [documents.read(store, JobFiles(run.folder, step, run.run_id).beside("started"), JobStart).time for step in JOBS]
    validate, train = ((later - earlier).total_seconds() for earlier, later in pairwise(starts))
    written = Path(store.root, JobFiles(run.folder, "compare", run.run_id).document).stat().st_mtime
    return {"validate": validate, "train": train, "compare": written - starts[2].timestamp()}


def holdout_loss(run: RunDocument, store: LocalStore) -> float:
    training = documents.read(store, JobFiles(run.folder, "train", run.run_id).document, Training)
    answer = httpx.get(f"{run.platform.mlflow}/api/2.0/mlflow/runs/get", params={"run_id": training.mlflow_run}).raise_for_status()
    metrics = {metric["key"]: metric["value"] for metric in answer.json()["run"]["data"]["metrics"]}
    return float(metrics["holdout.log_loss"])


def tell(name: str, taken: list[dict[str, float]]) -> None:
    added = [one["application"] - one["bare"] for one in taken]
    jobs = ", ".join(f"{job} {spread([one[job] for one in taken])}" for job in JOBS)
    whole, bare, loss = (
        spread([one[key] for one in taken], digits) for key, digits in (("application", 1), ("bare", 1), ("log_loss", 4))
    )
    print(f"{name}: {whole} s ({jobs}); the bare script {bare} s; added {spread(added, 1)} s; log loss {loss}", flush=True)


if __name__ == "__main__":
    main()
