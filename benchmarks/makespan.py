"""Twenty models queued at once on one small cluster: when each is live, how full the cluster is, and how long its jobs queue.

`python -m benchmarks.makespan [ALGORITHM …]` while the demo runs on YARN; then `python -m benchmarks.makespan_figure` in Spark's
environment.
"""

import sys
import time
from collections.abc import Sequence
from typing import Any

import httpx
import yaml

from benchmarks.figures import keep, spread
from benchmarks.loop import FIRST
from benchmarks.timed_model import FOLDER, timed_models
from demo.airflow_api import ENDED, Airflow
from demo.live import Live
from demo.paths import MODEL
from demo.platforms.cluster import HADOOP

MODELS = 20
WINDOW, HOLDOUT = "20d", "10d"  # of the demo's flights: 18,500 rows, so that the queue dominates
SIZE = {  # three jobs fill 8 GiB; the optimizing compiler would take most of the time of jobs as short as these
    "driver": {"memory": "640m", "memoryOverhead": "640m"},
    "executor": {"memory": "768m", "memoryOverhead": "512m", "cores": 2, "instances": 1},
    "conf": {f"spark.{part}.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC" for part in ("driver", "executor")},
}
MAX_P95 = "5s"  # servers share two cores with the cluster here
POLL_S, GIVE_UP_S = 5, 3 * 3600
ALGORITHMS = {"logistic": {"name": "logistic_regression"}, "xgboost": {"name": "xgboost_classifier"}}


def main(algorithms: Sequence[str] = ()) -> None:
    for algorithm in algorithms or ALGORITHMS:
        print(f"{MODELS} models by {ALGORITHMS[algorithm]['name']}", flush=True)
        measure(algorithm)


def measure(algorithm: str) -> None:
    airflow = Airflow()
    kinds = [f"{algorithm[0]}{number:02}" for number in range(1, MODELS + 1)]
    with timed_models(airflow, kinds, **small(), algorithm=ALGORITHMS[algorithm]) as specs:
        names = [spec.stem for spec in specs]
        runs = {name: airflow.trigger(name, {"as_of": FIRST.isoformat()}) for name in names}
        began = time.time()
        airflow.unpause_all(f"{MODEL}_{algorithm[0]}")
        use, live = follow(airflow, runs, began)
    jobs = {name: jobs_of(name, began) for name in names}
    results = {"models": [{"live": live[name], "jobs": jobs[name]} for name in names], "use": use}
    keep(f"makespan_{algorithm}", results)
    tell(results)


def small() -> dict[str, Any]:
    """What differs from the demo's spec."""
    spec = yaml.safe_load((FOLDER / f"{MODEL}.yaml").read_text())
    return {
        "sources": {name: source | {"window": WINDOW} for name, source in spec["sources"].items()},
        "serving": spec["serving"] | {"max_p95": MAX_P95},
        "split": {"holdout": HOLDOUT},
        "expectations": {},
        "spark": SIZE,
    }


def follow(airflow: Airflow, runs: dict[str, str], began: float) -> tuple[list[dict[str, float]], dict[str, float]]:
    """What the cluster was doing, every few seconds, and when each run ended with its model live."""
    use, live = [], {}
    while len(live) < len(runs):
        now = round(time.time() - began)
        if now > GIVE_UP_S:
            raise SystemExit(f"after {now} s {len(runs) - len(live)} models are not live")
        use.append({"at": now, **metrics()})
        for name in runs.keys() - live.keys():
            state = airflow.run_state(name, runs[name])
            if state in ENDED:
                if state != "success" or Live().champion(name) is None:
                    raise SystemExit(f"{name} is not live: read its run in Airflow's UI")
                live[name] = now
                print(f"  {now:>5} s  {name} is live, {len(live)} of {len(runs)}", flush=True)
        time.sleep(POLL_S)
    return use, live


def metrics() -> dict[str, float]:
    """Shares of the cluster that are given out, and jobs in it."""
    said = httpx.get(f"{HADOOP.rm_url}/ws/v1/cluster/metrics", timeout=10).raise_for_status().json()["clusterMetrics"]
    return {
        "memory": said["allocatedMB"] / said["totalMB"],
        "vcores": said["allocatedVirtualCores"] / said["totalVirtualCores"],
        "running": said["appsRunning"],
        "pending": said["appsPending"],
    }


def jobs_of(name: str, began: float) -> list[dict[str, Any]]:
    """Seconds since the beginning: submitted, begun (its driver's container is given out), ended."""
    times = {"submitted": "startedTime", "begun": "launchTime", "ended": "finishedTime"}
    return [
        {
            "step": steps_of(app),
            **{what: round(app[field] / 1000 - began, 1) for what, field in times.items()},
            "state": app["finalStatus"],
        }
        for app in HADOOP.applications(f"model:{name}")
    ]


def steps_of(app: dict[str, Any]) -> str:
    """Such as validate+train+compare: an application's name holds its model and its jobs."""
    steps: str = app["name"].split()[1]
    return steps


def tell(results: dict[str, Any]) -> None:
    live = sorted(model["live"] for model in results["models"])
    jobs = [job for model in results["models"] for job in model["jobs"]]
    first, last = min(job["submitted"] for job in jobs), max(job["ended"] for job in jobs)
    busy = [sample["memory"] for sample in results["use"] if first <= sample["at"] <= last]
    print(f"live: first after {live[0]} s, half after {live[len(live) // 2 - 1]} s, last after {live[-1]} s")
    print(f"cluster's memory given out from the first job to the last's end: {100 * sum(busy) / len(busy):.0f} % on average")
    print(f"{len(jobs)} jobs of {len(live)} models; a job queued: {spread([job['begun'] - job['submitted'] for job in jobs], 0)} s")
    print(f"a model's jobs queued in all: {spread([queued(model['jobs']) for model in results['models']], 0)} s")


def queued(jobs: list[dict[str, Any]]) -> float:
    return sum(job["begun"] - job["submitted"] for job in jobs)


if __name__ == "__main__":
    main(sys.argv[1:])
