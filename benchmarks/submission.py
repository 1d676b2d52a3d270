"""What a job on YARN costs its task in Airflow: as a step of ours, and as a SparkSubmitOperator in both of its waiting modes.

`python -m benchmarks.submission` in Airflow's environment, while the demo runs on YARN. All submit `sleeper.py`, in turns.
"""

import logging
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from statistics import fmean, median
from typing import Any

import psutil

from benchmarks.dag_files import dag_file, model_in_dag_file
from benchmarks.figures import keep, spread
from benchmarks.timed_model import FOLDER
from contract import documents
from contract.documents import JobRequest, RunDocument
from contract.platform import load_platform
from contract.store.factory import store_at
from demo.airflow_api import ENDED, Airflow
from demo.paths import AIRFLOW_URL, HOME, MODEL, ROOT, platform
from demo.platforms import cluster
from plugins.retraining.catalog import load_model
from plugins.retraining.context import TaskContext
from plugins.retraining.engines.artifact_staging import ship
from plugins.retraining.engines.base import PreparedJob, Submission
from plugins.retraining.engines.yarn import YarnEngine

TURNS = 4  # the first is not counted: it meets cold caches
TASK = "validate"
WAITS = {
    "spark_submit": {"durable": False},  # its JVM stays until the job has ended
    "rm_api": {"yarn_track_via_rm_api": True},  # the task's process stays, and asks the ResourceManager
}
APPLICATION = ROOT / "benchmarks" / "sleeper.py"
LOG = logging.getLogger("benchmark")
OURS = f'''"""Written and removed by a benchmark: the first two steps of a model, whose job only sleeps."""

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

from plugins.retraining import alerts
from plugins.retraining.operators import base
from plugins.retraining.catalog import load_model_and_platform
from plugins.retraining.dag import params
from plugins.retraining.engines.yarn import YarnEngine

model, platform = load_model_and_platform(Path({{spec!r}}))
shared = {{{{"platform": platform, "audience": alerts.audience_of(model.spec, platform)}}}}
spark = {{{{"engine_for": lambda spark: YarnEngine(spark, Path({str(APPLICATION)!r})), "timeout": timedelta(hours=1)}}}}
with DAG(model.spec.name, schedule=None, params=params()) as dag:
    first = base.FreezeRunStep(task_id="freeze_run", model=model, **shared)
    first >> base.ValidateStep(task_id={TASK!r}, **shared, **spark)
'''
PROVIDERS = '''"""Written and removed by a benchmark: the same job by the provider's operator."""

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import DAG

with DAG({dag!r}, schedule=None, params={{"request": ""}}) as dag:
    SparkSubmitOperator(
        task_id={task!r},
        application_args=["--store", {store!r}, "--job", "{{{{ params.request }}}}", "0"],
        **{options!r},
    )
'''


def main() -> None:
    os.environ.update(cluster.environment() | {"AIRFLOW_HOME": str(HOME)})
    airflow = Airflow()
    results: dict[str, list] = {"ours": [], **{way: [] for way in WAITS}}
    with ExitStack() as open_until_the_end:
        dags = {"ours": open_until_the_end.enter_context(model_in_dag_file(airflow, "sleeper", OURS)).stem}
        dags |= {way: open_until_the_end.enter_context(providers(airflow, way)) for way in WAITS}
        for _ in range(TURNS):
            for way, dag in dags.items():
                results[way].append(measure(airflow, dag, {} if way == "ours" else {"request": write_request()}))
                print(way, results[way][-1], flush=True)
    keep("submission", results)
    for name in results["ours"][0]:
        columns = "   ".join(f"{way} {spread([row[name] for row in rows[1:]], 1)}" for way, rows in results.items())
        print(f"{name:<32} {columns}")


def measure(airflow: Airflow, dag: str, conf: dict[str, Any]) -> dict[str, float]:
    """Seconds by the clocks of Airflow (a start is seen within a fifth of one) and of YARN; megabytes above an idle scheduler's."""
    idle = median(worker_mb() for _ in range(5))
    before = applications(dag)
    run = airflow.trigger(dag, conf)
    started, app = 0.0, {}
    waiting: list[tuple[float, bool]] = []
    while airflow.run_state(dag, run) not in ENDED:
        states = {task.task: task.state for task in airflow.tasks(dag, run)}
        started = started or (time.time() if states.get(TASK) == "running" else 0.0)
        app = next((application for id, application in applications(dag).items() if id not in before), {})
        if app.get("state") == "RUNNING":
            waiting.append((worker_mb() - idle, states[TASK] == "running"))
        time.sleep(0.2)
    ended = ended_at(airflow, dag, run)
    while not app.get("finishedTime"):  # the document is there before the application's end
        app = applications(dag)[app["id"]]
    return {
        "start to accepted, s": app["startedTime"] / 1000 - started,
        "job's end to task's end, s": ended - app["finishedTime"] / 1000,
        "memory while waiting, MB": fmean(memory for memory, _ in waiting),
        "slots held while waiting": fmean(slot for _, slot in waiting),
        "job, s": (app["finishedTime"] - app["startedTime"]) / 1000,
    }


def ended_at(airflow: Airflow, dag: str, run: str) -> float:
    task = next(candidate for candidate in airflow.tasks(dag, run) if candidate.task == TASK)
    if task.state != "success":
        raise SystemExit(f"{dag} {run} ended as {task.state}, so there is nothing to measure: read its log in {AIRFLOW_URL}")
    return task.ended


def applications(dag: str) -> dict[str, Any]:
    return {application["id"]: application for application in cluster.HADOOP.applications(f"model:{dag}")}


def worker_mb() -> float:
    """Proportional set size of the scheduler with its children: its workers, their tasks, and what these start."""
    running = psutil.process_iter(["cmdline"])  # None where a process has just ended
    scheduler = next(process for process in running if (process.info["cmdline"] or [])[-3:] == ["-m", "airflow", "scheduler"])
    total = 0.0
    for process in (scheduler, *scheduler.children(recursive=True)):
        try:
            total += process.memory_full_info().pss / 1e6
        except psutil.Error:
            continue  # it has ended meanwhile
    return total


@contextmanager
def providers(airflow: Airflow, way: str) -> Iterator[str]:
    """A DAG of the provider's operator with the files and settings of our engine, for the same application."""
    dag, request = f"{way}_{int(time.time())}", write_request()
    work = context_of(request)
    spark, store = work.run.platform.spark, work.store
    engine = YarnEngine(spark)
    command = engine.command(Submission([PreparedJob(request_of(work), request, 0)], {}), store, LOG)
    conf = dict(value.split("=", 1) for name, value in pairwise(command) if name == "--conf")
    conf = {name: value.replace("{{PWD}}", "{{ '{{PWD}}' }}") for name, value in conf.items()}  # Airflow fills templates here
    del conf["spark.yarn.submit.waitAppCompletion"]  # set by the operator itself
    shipped = ship(store, spark.python, LOG)
    options = {
        "application": str(APPLICATION),
        "conn_id": spark.connection,
        "conf": conf | {"spark.yarn.tags": f"model:{dag}"},
        "py_files": shipped.code,
        "archives": f"{shipped.environment}#environment",
        "deploy_mode": "cluster",
        **WAITS[way],
        "env_vars": {name: engine.environment()[name] for name in ("PATH", "SPARK_HOME", "HADOOP_CONF_DIR", "HADOOP_USER_NAME")},
    }
    with dag_file(airflow, dag, PROVIDERS.format(dag=dag, task=TASK, store=work.run.platform.store, options=options)):
        yield dag


def write_request() -> str:
    """Writes the request of a new run, which no other application has; its path in the store."""
    known = load_platform(platform(), HOME)
    model = load_model(FOLDER / f"{MODEL}.yaml")
    run = RunDocument(
        model=model.spec.name,
        run_id="benchmark",
        folder=f"benchmarks/{uuid.uuid4().hex[:12]}",
        clear_number=0,
        as_of="2013-06-01T00:00:00+00:00",
        backfill=False,
        spec=model.spec,
        spec_hash="benchmark",
        sql=model.sql,
        suites={},
        platform=known,
        champion=None,
        code_hash="benchmark",
    )
    work = TaskContext(TASK, run, store_at(known.store), {}, 0)
    return documents.write(work.store, work.beside("request"), request_of(work))


def request_of(work: TaskContext) -> JobRequest:
    return JobRequest(job=TASK, key=work.key, run=work.run)


def context_of(request: str) -> TaskContext:
    store = store_at(load_platform(platform(), HOME).store)
    return TaskContext(TASK, documents.read(store, request, JobRequest).run, store, {}, 0)


if __name__ == "__main__":
    main()
