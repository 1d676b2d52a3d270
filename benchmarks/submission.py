"""What a worker pays for a job on YARN: with our engine, and with the Spark provider's own hook, which waits in its process.

`python -m benchmarks.submission`, in Airflow's environment, while the demo runs on YARN. Both submit one application, in turns.
"""

import json
import logging
import os
import subprocess
import sys
import time
import uuid
from itertools import pairwise
from pathlib import Path
from statistics import median

import psutil

from contract import documents
from contract.documents import JobRequest, RunDocument
from contract.platform import load_platform
from contract.store import store_at
from demo import cluster
from demo.place import HOME, ROOT, platform
from plugins.retraining.catalog import load_model
from plugins.retraining.engines.base import Job
from plugins.retraining.engines.spark_submit import hook_for
from plugins.retraining.engines.yarn import YarnEngine
from plugins.retraining.jobs import look
from plugins.retraining.steps import Work

OUT = ROOT / "benchmarks" / "results" / "submission.json"
APPLICATION = ROOT / "benchmarks" / "sleeper.py"
REPEATS = 3
LOOK_EVERY_S = 4.0  # as the demo's Airflow does
LOG = logging.getLogger("benchmark")


def main() -> None:
    if sys.argv[1:]:
        {"ours": submit_ours, "provider": submit_and_wait}[sys.argv[1]](Path(sys.argv[2]))
        return
    os.environ.update(cluster.environment())
    found = {"ours": [], "provider": []}
    for _ in range(REPEATS):
        for way, rows in found.items():
            rows.append(measure(way))
            print(way, rows[-1], flush=True)
    OUT.write_text(json.dumps(found, indent=2) + "\n")
    for name in found["ours"][0]:
        ours, theirs = ([row[name] for row in found[way]] for way in ("ours", "provider"))
        print(f"{name:<28} ours {_spread(ours)}   provider {_spread(theirs)}")


def measure(way: str) -> dict[str, float]:
    """Seconds and megabytes of one job from the start of its task's process to its end, as the task sees it."""
    file = Path(HOME, f"{way}.json")
    file.write_text(a_run().model_dump_json())
    work = work_of(file)
    engine = YarnEngine(work.run.platform.spark)
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.submission", way, str(file)], cwd=ROOT)
    accepted = waiting = 0.0
    peak, seen_end, looks = 0.0, 0.0, []
    while process.poll() is None:
        memory = _memory_mb(process.pid)
        apps = engine.find(work.key)
        if apps and not accepted:
            accepted = time.monotonic() - started
        if apps and apps[-1].phase == "ended" and not seen_end:
            seen_end = time.monotonic()
        if apps and apps[-1].phase == "running":
            waiting = max(waiting, memory)
        peak = max(peak, memory)
        time.sleep(0.1)
    if way == "ours":
        seen_end, looks = await_by_looks(work, engine)
    return {
        "to accepted, s": round(accepted, 1),
        "from end to task's end, s": round(time.monotonic() - seen_end, 1),
        "peak, MB": round(peak),
        "while it waits, MB": round(waiting),
        "a look, s": round(median(looks), 2) if looks else 0.0,
    }


def await_by_looks(work: Work, engine: YarnEngine) -> tuple[float, list[float]]:
    """When the application had ended, by YARN; and what the looks took. Between them there is no process."""
    looks, ended = [], 0.0
    while True:
        until = time.monotonic() + LOOK_EVERY_S
        while time.monotonic() < until:
            if not ended and engine.find(work.key)[-1].phase == "ended":
                ended = time.monotonic()
            time.sleep(0.1)
        began = time.monotonic()
        path = look(work, engine, LOG).path
        looks.append(time.monotonic() - began)
        if path:
            return ended or began, looks


def a_run() -> RunDocument:
    """One whose application is no other's."""
    known = load_platform(platform(), HOME)
    model = load_model(ROOT / "dags/models/flight_delay.yaml")
    spark = known.spark.model_copy(update={"driver": known.spark.driver.model_copy(update={"memory": "512m"})})
    return RunDocument(
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
        platform=known.model_copy(update={"spark": spark}),
        champion=None,
        code_hash="benchmark",
    )


def work_of(file: Path) -> Work:
    run = RunDocument.model_validate_json(file.read_text())
    return Work("validate", run, store_at(run.platform.store), {}, 0)


def submit_ours(file: Path) -> None:
    _use_the_sleeper()
    work = work_of(file)
    look(work, YarnEngine(work.run.platform.spark), LOG)


def submit_and_wait(file: Path) -> None:
    """As the provider's operator: with what the engine ships, but its spark-submit stays until the end."""
    from plugins.retraining.engines.shipping import ship

    work = work_of(file)
    spark, store = work.run.platform.spark, work.store
    request = JobRequest(job="validate", key=work.key, run=work.run)
    job = Job(request, documents.write(store, work.beside("request"), request), 0, {})
    engine, shipped = YarnEngine(spark), ship(store, spark.python, LOG)
    command = engine.command(job, store, LOG)
    conf = dict(value.split("=", 1) for name, value in pairwise(command) if name == "--conf")
    del conf["spark.yarn.submit.waitAppCompletion"]
    os.environ.update(engine.environment())
    hook = hook_for(spark, job, conf, py_files=shipped.code, archives=f"{shipped.environment}#environment", deploy_mode="cluster")
    hook.submit(str(APPLICATION))


def _use_the_sleeper() -> None:
    from plugins.retraining.engines import yarn

    yarn.RUN = APPLICATION


def _memory_mb(pid: int) -> float:
    """Proportional set size of a process with its children."""
    try:
        process = psutil.Process(pid)
        return sum(each.memory_full_info().pss for each in (process, *process.children(recursive=True))) / 1e6
    except psutil.Error:
        return 0.0


def _spread(values: list[float]) -> str:
    return f"{median(values):g} ({min(values):g}–{max(values):g})"


if __name__ == "__main__":
    main()
