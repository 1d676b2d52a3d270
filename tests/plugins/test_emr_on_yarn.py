"""«EMR» with real Spark: the stand-in for AWS runs each step's spark-submit on a real YARN; data, snapshot and documents are in S3.

The packed environment is a link to the one that is there: packing and unpacking a gigabyte is not what is tested here.
"""

import logging
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx
import pytest

from contract import documents
from contract.documents import RunDocument, ValidationReport
from contract.emr import Emr, EmrServerless, JobFlow
from contract.platform import Platform
from contract.spark import Driver, Executor, Spark
from contract.store.factory import store_at
from demo.platforms.hadoop import java_home
from demo.ports import is_taken
from plugins.retraining.catalog import ModelFiles, load_model, platform_for
from plugins.retraining.context import TaskContext
from plugins.retraining.engines import engine_for
from plugins.retraining.engines.base import Engine
from plugins.retraining.spark.job_runner import poke
from tests import jvm
from tests.hadoop_cluster import Cluster
from tests.hadoop_cluster import running as running_hadoop
from tests.plugins import aws as stand_in
from tests.plugins.aws import ACCOUNT, BUCKET, JOB_FLOW, ROOT, Aws, states
from tests.plugins.late import ALONE
from tests.plugins.test_emr_runs import ORDER, play, synced
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

SPARK = ROOT / ".venv" / "spark"
HOME = SPARK / "lib" / "python3.11" / "site-packages" / "pyspark"
PATIENCE_S = 600
wait_for = partial(until, seconds=PATIENCE_S, every_s=1)
LOG = logging.getLogger("retraining.test")
AS_OF = datetime(2013, 4, 20, tzinfo=UTC)
YARN_CLIENT = "org.apache.hadoop.yarn.client.cli.ApplicationCLI"
PROGRAM = """#!/bin/sh
exec /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin HOME={home} LANG=C.UTF-8 JAVA_HOME={java} HADOOP_CONF_DIR={conf} \\
  SPARK_CONF_DIR={home} SPARK_HOME={spark} SPARK_SUBMIT_OPTS='{options}' SPARK_DIST_CLASSPATH='{jars}' \\
  SPARK_LOCAL_IP=127.0.0.1 {run} "$@"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with running_hadoop(tmp_path_factory.mktemp("hadoop")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def aws(cluster, tmp_path_factory) -> Iterator[Aws]:
    programs = tmp_path_factory.mktemp("programs")
    with stand_in.running(programs, cluster.home / "nodes") as aws:
        write_programs(programs, cluster, aws)
        trips = tmp_path_factory.mktemp("data") / "trips"
        subprocess.run([SPARK / "bin" / "python", ROOT / "tests" / "integration" / "trips.py", trips], check=True)
        aws.client("s3").upload_file(str(trips / "trips.parquet"), BUCKET, "data/trips/trips.parquet")
        yield aws


def write_programs(folder: Path, cluster: Cluster, aws: Aws) -> None:
    """What EMR's primary node has: Spark and Hadoop that know the bucket, and a role to use it."""
    program = "from tests.spark_jobs.jars import settings_with_jars as s; print(s()['spark.driver.extraClassPath'])"
    jars = subprocess.run([SPARK / "bin" / "python", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    given = {"home": folder, "java": java_home(), "conf": cluster.conf, "spark": HOME, "jars": jars.strip(), "options": jvm.QUICK}
    commands = {
        "spark-submit": HOME / "bin" / "spark-submit",
        "yarn": f"{java_home()}/bin/java {jvm.QUICK} -cp '{cluster.conf}:{HOME}/jars/*' {YARN_CLIENT}",
    }
    for name, command in commands.items():
        (folder / name).write_text(PROGRAM.format(**given, run=command))
        (folder / name).chmod(0o755)
    defaults = {
        "spark.master": "yarn",
        "spark.yarn.jars": f"local:{HOME}/jars/*",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "spark.hadoop.fs.s3a.endpoint": aws.url,
        "spark.hadoop.fs.s3a.endpoint.region": stand_in.REGION,
        "spark.hadoop.fs.s3a.access.key": "x",
        "spark.hadoop.fs.s3a.secret.key": "x",
        "spark.hadoop.fs.s3a.path.style.access": "true",
        **jvm.ON_CLUSTER,
        **{f"spark.yarn.appMasterEnv.{name}": value for name, value in stand_in.variables(aws).items()},
    }
    (folder / "spark-defaults.conf").write_text("".join(f"{name} {value}\n" for name, value in defaults.items()))


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory) -> Iterator[str]:
    """A real server."""
    home = tmp_path_factory.mktemp("mlflow")
    port = next(port for port in range(21000, 22000, 7) if not is_taken(port))
    arguments = ("--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", str(home / "artifacts"))
    listen = ("--workers", "1", "--host", "127.0.0.1", "--port", str(port))
    command = [SPARK / "bin" / "python", "-m", "mlflow", "server", *listen, *arguments]
    quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=quiet, start_new_session=True)
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/health"), "MLflow")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture
def platform_of(bundle, tmp_path) -> Callable[..., Platform]:
    """The tests' platform with Spark there, and data in the bucket."""
    python = stand_in.environment(tmp_path / "env")
    packages = tmp_path / "env" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "there.pth").write_text(f"{HOME.parent}\n")
    size = {"driver": Driver(memory="1g"), "executor": Executor(memory="1g", cores=1, instances=1)}

    def make(**given: object) -> Platform:
        spark = Spark(connection="aws_test", python=str(python), **size, **given)
        return platform_for(bundle / "dags" / "models" / "late.yaml").model_copy(
            update={"spark": spark, "data": f"s3://{BUCKET}/data"}
        )

    return make


@pytest.fixture
def trip_delay(tmp_path) -> ModelFiles:
    file = tmp_path / "trip_delay.yaml"
    text = (ROOT / "tests" / "integration" / "trip_delay.yaml").read_text()
    file.write_text(text.replace("start: 2013-03-01", "start: 2013-03-01\ndeadline: 20m"))
    return load_model(file)


def interpreter() -> str:
    """Of this machine, which is the cluster's only node."""
    return str((SPARK / "bin" / "python").resolve())


@pytest.fixture
def task_maker(platform_of, trip_delay) -> Callable[..., Callable[[], TaskContext]]:
    """The first job of a run."""

    def make(name: str, **given: object) -> Callable[[], TaskContext]:
        platform = platform_of(**given)
        store = store_at(f"s3://{BUCKET}/{name}")
        run = RunDocument(
            model="trip_delay",
            run_id="manual__1",
            folder="runs/trip_delay/r",
            clear_number=0,
            as_of=AS_OF,
            backfill=False,
            spec=trip_delay.spec,
            spec_hash="s",
            sql=trip_delay.sql,
            suites=trip_delay.suites,
            platform=platform.model_copy(update={"store": store.root}),
            champion=None,
            code_hash="c",
        )
        return lambda: TaskContext("validate", run, store, {}, 0)

    return make


def engine_of(task: TaskContext) -> Engine:
    return engine_for(task.run.platform.spark).of_run(task.run)


def see(task: TaskContext) -> str | None:
    return poke(task, engine_of(task), ALONE, LOG).path


def applications(cluster: Cluster, key: str) -> list[str]:
    """Their states in YARN."""
    return [application["state"] for application in cluster.applications(key)]


def test_a_whole_run_on_emr_with_real_spark(airflow, aws, cluster, mlflow, platform_of, trip_delay, tmp_path):
    emr = Emr(job_flow=JobFlow.model_validate(JOB_FLOW), python=interpreter())
    platform = platform_of(engine="emr", emr=emr).model_copy(update={"mlflow": mlflow})

    # A job takes a minute: asking Airflow and the bucket ten times a second slows it down.
    run = play(*synced(trip_delay, platform, tmp_path), due=AS_OF, within_s=1200, idle_s=1)

    assert run.states() == dict.fromkeys((*ORDER, "end_cluster"), "success")
    snapshot = run.xcom("validate", "document")["snapshot"]
    assert snapshot["uri"].startswith(f"s3://{BUCKET}/")
    assert snapshot["rows"]["trips"] == 20 * 150
    assert run.xcom("decide", "document")["decision"] == "promote"
    assert states(aws)[run.xcom("cluster")] == "TERMINATED"
    steps = aws.client("emr").list_steps(ClusterId=run.xcom("cluster"))["Steps"]
    assert [step["Name"].split()[1] for step in steps] == ["validate+train+compare"]


def test_a_stopped_step_leaves_nothing_in_yarn(aws, cluster, task_maker):
    make = task_maker("stopped", engine="emr", emr=Emr(cluster=aws.cluster(), python=interpreter()))
    key = make().key
    stopped = make()
    see(stopped)
    wait_for(lambda: f"validate-{key}.claim-0.json" in make().store.names("runs/trip_delay/r"), "its claim")

    for application in engine_of(stopped).find(key, live=True):
        engine_of(stopped).stop(application.id)

    wait_for(lambda: applications(cluster, key) == ["KILLED"], "its end")


def test_a_job_run_on_emr_serverless_with_real_spark(aws, cluster, task_maker):
    role = f"arn:aws:iam::{ACCOUNT}:role/jobs"
    serverless = EmrServerless(
        application=aws.application(), execution_role=role, log_uri=f"s3://{BUCKET}/logs", python=interpreter()
    )
    make = task_maker("serverless", engine="emr_serverless", emr_serverless=serverless)

    path = wait_for(lambda: see(make()), "its document")

    report = documents.read(make().store, path, ValidationReport)
    assert report.snapshot.rows == {"trips": 20 * 150}
    application = wait_for(
        lambda: [candidate for candidate in engine_of(make()).find(make().key) if candidate.phase == "ended"], "its end"
    )[0]
    assert application.diagnostics == "SUCCESS"
    assert application.vcpu_hours > 0
