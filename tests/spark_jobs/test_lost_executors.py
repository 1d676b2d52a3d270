"""A run in one application whose executors are killed between its jobs, with all that they had cached."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyspark
import pytest
from pyspark.sql import SparkSession

from spark_jobs.data.handover import Handover
from spark_jobs.runtime.session import start_session
from spark_jobs.runtime.shared_folder import SharedFolder
from tests.spark_jobs.test_rows_without_time import Line, content

pytest_plugins = ["tests.spark_jobs.mlflow_server"]
pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
BACKEND = "CoarseGrainedExecutorBackend"
CLUSTER = {"spark.master": "local-cluster[2,1,768]", "spark.executor.memory": "768m", "spark.ui.enabled": "false"}


def test_what_they_had_cached_is_computed_again(spark: SparkSession, mlflow_url: str, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    line = Line(spark, mlflow_url, tmp_path / "here")
    whole = [content(document) for document in line.outputs(line.frozen(10), lambda: None)]

    (tmp_path / "cluster").mkdir()
    environment = {**os.environ, "SPARK_HOME": str(Path(pyspark.__file__).parent), "SPARK_SCALA_VERSION": "2.13"}
    command = [sys.executable, "-m", __name__, mlflow_url, str(tmp_path / "cluster"), str(tmp_path / "result.json")]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=600)

    result = json.loads((tmp_path / "result.json").read_text())
    assert result["killed"] == [2, 2]
    assert result["documents"] == whole


def losing_executors(spark: SparkSession, url: str, home: Path) -> dict[str, list]:
    line, killed = Line(spark, url, home), list[int]()
    kept = Handover(3, SharedFolder.of(spark, f"{home}/shared"))
    documents = []
    for document in line.outputs(line.frozen(10), lambda: kept):
        documents.append(content(document))
        if len(documents) < 3:
            killed.append(kill_executors(spark))
    return {"killed": killed, "documents": documents}


def kill_executors(spark: SparkSession) -> int:
    """Of this session."""
    ours = f":{spark.conf.get('spark.driver.port')}"
    pids = [pid for pid, command in commands() if BACKEND in command and ours in command and "java" in command.split("\0")[0]]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return len(pids)


def commands() -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield int(folder.name), (folder / "cmdline").read_text()


if __name__ == "__main__":
    session = start_session("lost executors", CLUSTER)
    Path(sys.argv[3]).write_text(json.dumps(losing_executors(session, sys.argv[1], Path(sys.argv[2]))))
    session.stop()
