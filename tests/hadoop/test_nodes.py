"""On a YARN whose nodes have disks of their own: what the driver writes to its disk is not seen by executors."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import jvm
from tests.hadoop_cluster import Cluster, require_programs
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv/spark/bin/python"
PYSPARK = ROOT / ".venv/spark/lib/python3.11/site-packages/pyspark"
NODE_MB = 1600  # for a driver or an executor, not for both: they are on different nodes
DISK = Path("/var/tmp/retraining-node")  # a path that is another disk on each node


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    if os.geteuid() != 0:
        pytest.skip("only root can give a node a disk of its own")
    require_programs()
    DISK.mkdir(exist_ok=True)
    cluster = Cluster(tmp_path_factory.mktemp("hadoop"), nodes=2, memory_mb=2 * NODE_MB)
    for node in cluster.nodemanagers:
        node.run_in("unshare", "--mount", "sh", "-c", f'mount -t tmpfs node {DISK} && exec "$@"', "node")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        DISK.rmdir()


def submit(cluster: Cluster, *arguments: str) -> str:
    """Id of the application."""
    conf = {
        "spark.yarn.jars": f"local:{PYSPARK}/jars/*",
        "spark.executor.instances": "1",
        "spark.driver.memory": "600m",
        "spark.executor.memory": "600m",
        "spark.yarn.submit.waitAppCompletion": "false",
        "spark.yarn.maxAppAttempts": "1",
        "spark.pyspark.python": str(PYTHON),
        **{f"spark.yarn.appMasterEnv.{name}": value for name, value in {"TMPDIR": str(DISK), "PYTHONPATH": str(ROOT)}.items()},
        "spark.executorEnv.PYTHONPATH": str(ROOT),
        **jvm.ON_CLUSTER,
    }
    options = [part for name, value in conf.items() for part in ("--conf", f"{name}={value}")]
    command = [f"{PYSPARK}/bin/spark-submit", "--master", "yarn", "--deploy-mode", "cluster", *options]
    env = {**os.environ, "HADOOP_CONF_DIR": str(cluster.conf), "SPARK_HOME": str(PYSPARK), "PYSPARK_PYTHON": str(PYTHON)}
    script = str(Path(__file__).with_name("saves_a_pipeline.py"))
    done = subprocess.run([*command, script, *arguments], env=env, capture_output=True, text=True)
    return next(line.rpartition("application ")[2].strip() for line in done.stderr.splitlines() if "Submitted application " in line)


def test_a_pipeline_is_saved_and_loaded_though_executors_do_not_see_the_drivers_disk(cluster):
    application = submit(cluster, f"{cluster.fs}/jobs/k1/pipelines")

    def ended() -> dict | None:
        app = httpx.get(f"{cluster.rm_url}/ws/v1/cluster/apps/{application}", timeout=10).json()["app"]
        return app if app["finalStatus"] != "UNDEFINED" else None

    app = until(ended, "it ended", 200)
    logs = httpx.get(f"{app['amContainerLogs']}/stderr/?start=-6000", timeout=10).text if app["finalStatus"] != "SUCCEEDED" else ""
    assert app["finalStatus"] == "SUCCEEDED", (app["diagnostics"], logs)
    sys.stdout.write(f"{application} on {app['amHostHttpAddress']}\n")
