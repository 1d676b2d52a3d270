"""What validate and compare take on the demo's model, warm, in one process: seconds, SQL queries, Spark jobs; also of wide tables.

`python -m benchmarks.queries --data DATA --mlflow URL [--before CHECKOUT]` in Spark's environment; ten minutes on two cores.
DATA is the demo's data folder. In a checkout of an earlier commit the same is done by its own code, and ratios are printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from contract import documents
from contract.documents import Champion, JobRequest, RunDocument, Training
from contract.platform import Platform, load_platform
from contract.spec import ModelSpec, parse_spec
from contract.store.local import LocalStore
from spark_jobs.jobs import compare, train, validate
from spark_jobs.runtime.session import start_session

ROOT = Path.cwd()
WARM_UP, REPEATS = 3, 5
OLDER, NEWER = datetime(2013, 5, 15, tzinfo=UTC), datetime(2013, 6, 1, tzinfo=UTC)
TREES = {"name": "gbt_classifier", "params": {"maxDepth": 5, "maxIter": 40, "stepSize": 0.1}, "search": None}
WIDTHS, ROWS = (100, 300, 1_000), 10_000
JOBS = {"validate": validate, "train": train, "compare": compare}
Cost = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--mlflow", required=True)
    parser.add_argument("--before", type=Path, help="a checkout of the commit to compare with")
    parser.add_argument("--out", type=Path, help="only measure this checkout, and write the costs here")
    arguments = parser.parse_args()
    if arguments.out:
        arguments.out.write_text(json.dumps(measure(arguments.data, arguments.mlflow)))
        return
    from benchmarks.figures import keep

    trees = {"now": ROOT, **({"before": arguments.before.resolve()} if arguments.before else {})}
    costs = {name: in_process(tree, arguments.data, arguments.mlflow) for name, tree in trees.items()}
    for work, cost in costs["now"].items():
        before = costs.get("before", {}).get(work)
        ratio = f"; {cost['processor_s'] / before['processor_s']:.2f} of the processor time before" if before else ""
        print(f"{work}: {cost['seconds']:.1f} s, {cost['queries']:.0f} queries in {cost['jobs']:.0f} Spark jobs{ratio}", flush=True)
    keep("queries", costs)


def in_process(tree: Path, data: str, mlflow: str) -> dict[str, Cost]:
    """By the code of `tree`."""
    with tempfile.NamedTemporaryFile() as out:
        command = [sys.executable, "-P", __file__, "--data", data, "--mlflow", mlflow, "--out", out.name]
        subprocess.run(command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree), "OPENBLAS_NUM_THREADS": "1"}, check=True)
        costs: dict[str, Cost] = json.loads(Path(out.name).read_text())
        return costs


def measure(data: str, mlflow: str) -> dict[str, Cost]:
    with tempfile.TemporaryDirectory() as home:
        platform = load_platform(ROOT / "dags/platforms/local.yaml", Path(home))
        settings = {name: str(value).lower() for name, value in platform.spark.conf.items() if "Options" not in name}
        spark = start_session("queries", {**settings, "spark.driver.memory": "4g", "spark.sql.warehouse.dir": f"{home}/warehouse"})
        platform = platform.model_copy(update={"store": f"{home}/store", "data": data, "mlflow": mlflow})
        costs = demo_costs(spark, platform)
        for width in WIDTHS:
            costs |= wide_costs(spark, platform.model_copy(update={"data": f"{home}/{width}"}), width)
        spark.stop()
    return costs


def demo_costs(spark: SparkSession, platform: Platform) -> dict[str, Cost]:
    path = ROOT / "dags/models/flight_delay.yaml"
    spec = parse_spec(path.read_text(), path)
    spec = spec.model_copy(update={"algorithm": spec.algorithm.model_copy(update=TREES)})
    suites = {name: json.loads((ROOT / f"expectations/{name}.json").read_text()) for name in spec.expectations}
    sql = path.with_suffix(".sql").read_text()
    older, newer = (run_document(platform, spec, as_of, sql=sql, suites=suites) for as_of in (OLDER, NEWER))
    for run in (older, newer):
        do(spark, run, "validate")
        do(spark, run, "train", "validate")
    version = documents.read(LocalStore(platform.store), document(older, "train"), Training).version
    champion = newer.model_copy(update={"champion": Champion(version=version, digest="sha256:1", as_of=OLDER)})
    works: dict[str, Callable[[], object]] = {
        "validate": lambda: do(spark, newer, "validate"),
        "compare with the baseline": lambda: do(spark, newer, "compare", "validate", "train"),
        "compare with a champion": lambda: do(spark, champion, "compare", "validate", "train"),
    }
    taken = [{name: cost_of(spark, work) for name, work in works.items()} for _ in range(WARM_UP + REPEATS)][WARM_UP:]
    return {name: {key: statistics.median(one[name][key] for one in taken) for key in taken[0][name]} for name in works}


def wide_costs(spark: SparkSession, platform: Platform, width: int) -> dict[str, Cost]:
    """Each job once."""
    random, names = np.random.default_rng(1), [f"x{at}" for at in range(width)]
    table = pd.DataFrame(random.normal(size=(ROWS, width)), columns=names)
    table["label"] = (table["x0"] + random.normal(size=ROWS) > 0).astype(float)
    table["id"], table["at"] = table.index.astype(str), [NEWER - timedelta(minutes=5 * (row + 1)) for row in range(ROWS)]
    folder = Path(platform.data, "rows")
    folder.mkdir(parents=True)
    table.to_parquet(folder / "rows.parquet", coerce_timestamps="us")
    about: dict[str, Any] = {"name": f"wide_{width}", "description": "wide", "owner": "ops", "task": "binary"}
    about |= {
        "sources": {"rows": {"format": "parquet", "path": "rows"}},
        "split": {"holdout": "7d"},
        "gate": {"metric": "log_loss"},
    }
    about |= {"examples": {"id": "id", "time": "at", "label": "label", "numeric": names}}
    about |= {"algorithm": {"name": "logistic_regression", "params": {"maxIter": 10}}}
    run = run_document(platform, ModelSpec.model_validate(about), NEWER)
    steps = (("validate",), ("train", "validate"), ("compare", "validate", "train"))
    return {f"{job}, {width} features": cost_of(spark, lambda: do(spark, run, job, *needed)) for job, *needed in steps}  # noqa: B023


def run_document(platform: Platform, spec: ModelSpec, as_of: datetime, **more: Any) -> RunDocument:
    about = {"model": spec.name, "run_id": f"{as_of:%d}", "folder": f"runs/{spec.name}/{as_of:%d}", "clear_number": 0}
    about |= {"as_of": as_of, "backfill": False, "spec": spec, "spec_hash": "s", "sql": None, "suites": {}, "code_hash": "c"}
    return RunDocument.model_validate({**about, "platform": platform, "champion": None, **more})


def document(run: RunDocument, job: str) -> str:
    return f"{run.folder}/{job}-k.json"


def do(spark: SparkSession, run: RunDocument, job: str, *needed: str) -> None:
    spark.catalog.clearCache()
    store = LocalStore(run.platform.store)
    request = JobRequest(job=job, key=f"{time.time_ns():x}", run=run, inputs={name: document(run, name) for name in needed})
    documents.write(store, document(run, job), JOBS[job].run(spark, request, store))  # the first one stays


def cost_of(spark: SparkSession, work: Callable[[], object]) -> Cost:
    before, started = counters(spark), time.monotonic()
    work()
    seconds = time.monotonic() - started
    return {"seconds": seconds, **{name: count - before[name] for name, count in counters(spark).items()}}


def counters(spark: SparkSession) -> Cost:
    """Since the start: SQL queries, Spark jobs, and processor time of this process and its JVM."""
    context = spark.sparkContext._jsc.sc()
    context.listenerBus().waitUntilEmpty()
    queries = spark._jsparkSession.sharedState().statusStore().executionsCount()
    fields = Path(f"/proc/{spark._jvm.java.lang.ProcessHandle.current().pid()}/stat").read_text().rpartition(")")[2].split()
    jvm_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return {"queries": queries, "jobs": context.dagScheduler().numTotalJobs(), "processor_s": jvm_s + time.process_time()}


if __name__ == "__main__":
    main()
