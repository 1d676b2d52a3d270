"""One JVM for all Spark tests, and a snapshot made of frames typed in a test."""

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyspark
import pytest
from pyspark.sql import SparkSession

from contract.documents import Snapshot
from spark_jobs.runtime.logs import start_logging
from spark_jobs.runtime.session import start_session
from tests.spark_jobs.jars import absent, settings_with_jars
from tests.spark_jobs.runs import write_snapshot

start_logging()  # tests call the jobs without run.py, and read what they log

SMALL = {
    "spark.master": "local[2]",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.driver.extraJavaOptions": "-Duser.timezone=America/New_York",  # a time that is not taken as UTC fails here
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
}


@pytest.fixture(scope="session")
def spark(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """With more jars where any test uses `jars`: a JVM's class path is fixed at its start."""
    os.environ.update(SPARK_HOME=str(Path(pyspark.__file__).parent), PYSPARK_PYTHON=sys.executable)
    folder = tmp_path_factory.mktemp("spark")
    folders = {"spark.sql.warehouse.dir": str(folder / "warehouse"), "spark.local.dir": str(folder)}
    needs_jars = any("jars" in getattr(item, "fixturenames", ()) for item in request.session.items)
    session = start_session("tests", {**SMALL, **folders, **(settings_with_jars() if needs_jars else {})})
    yield session
    session.stop()


@pytest.fixture(scope="session")
def jars(spark: SparkSession) -> None:
    """Delta, Avro, PostgreSQL's driver and S3 are on the class path."""
    if "spark.driver.extraClassPath" not in dict(spark.sparkContext.getConf().getAll()):
        absent("Maven, with a way to its central repository")


@pytest.fixture
def snapshot_of(tmp_path: Path) -> Callable[..., Snapshot]:
    """`snapshot_of(flights=frame, weather=frame)` is those frames as written Parquet."""
    return partial(write_snapshot, tmp_path / "snapshot")
