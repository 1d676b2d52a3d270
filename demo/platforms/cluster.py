"""Further services of the demo on YARN: HDFS with the data and the store, a ResourceManager, and a node."""

import json
import os
import subprocess
from pathlib import Path

import yaml

from demo.paths import HOME, LOGS, PLATFORMS, ROOT, platform, python_of
from demo.platforms.hadoop import Hadoop

CONNECTION = "spark_yarn"
ON_ONE_MACHINE = ("spark.driver.host", "spark.driver.bindAddress", "spark.ui.enabled")  # settings that are for local only
HADOOP = Hadoop(HOME / "hadoop")  # one node: each unpacks the environment for itself, which takes a minute


def write_platform(file: Path) -> None:
    """The local platform with data and store in HDFS and jobs on YARN."""
    HADOOP.make()
    local = yaml.safe_load((PLATFORMS / "local.yaml").read_text())
    spark = local["spark"]
    conf = {name: value for name, value in spark["conf"].items() if name not in ON_ONE_MACHINE}
    conf["spark.executor.extraJavaOptions"] = conf["spark.driver.extraJavaOptions"]
    local |= {"store": f"{HADOOP.fs}/retraining", "data": f"{HADOOP.fs}/data"}
    local["spark"] = {
        "engine": "yarn",
        "connection": CONNECTION,
        "python": spark["python"],
        "hadoop_conf": str(HADOOP.conf),
        "driver": {"memory": "1g"},
        "executor": {"memory": "1536m", "cores": 2, "instances": 1},
        "time_limit": "30m",
        "conf": conf,
    }
    file.write_text(yaml.safe_dump(local, sort_keys=False))


def commands() -> dict[str, str]:
    return HADOOP.commands()


def environment() -> dict[str, str]:
    """Of Airflow and the serving host, whose store is in HDFS."""
    extra = {"deploy-mode": "cluster", "yarn_resourcemanager_webapp_address": HADOOP.rm_url}
    connection = {"conn_type": "spark", "host": "yarn", "extra": extra}
    return {f"AIRFLOW_CONN_{CONNECTION.upper()}": json.dumps(connection), "HADOOP_CONF_DIR": str(HADOOP.conf)}


def find_hdfs() -> None:
    """Sets HADOOP_CONF_DIR for this process, as for Airflow and the serving host, if the demo is on YARN."""
    if platform().stem == "yarn":
        os.environ["HADOOP_CONF_DIR"] = str(HADOOP.conf)


def await_ready() -> None:
    """Waits for Hadoop, and puts the data into HDFS. What jobs need is packed meanwhile; the first job waits for it."""
    HADOOP.await_ready()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HADOOP_CONF_DIR": str(HADOOP.conf)}
    command = [python_of("airflow"), "-m", "demo.platforms.staging"]
    with (LOGS / "staging.log").open("w") as log:
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    HADOOP.put(HOME / "data", "/data")


def stop() -> None:
    """Kills the containers that a NodeManager leaves when it is stopped."""
    HADOOP.kill_containers()
