"""One JVM for all Spark tests, and a snapshot made of frames typed in a test."""

import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyspark
import pytest
from pyspark.sql import DataFrame, SparkSession

from contract.documents import Snapshot
from spark_jobs.runtime.logs import start_logging
from spark_jobs.runtime.session import start_session
from tests.spark_jobs.jars import absent, settings_with_jars

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

    def write(as_of: datetime = datetime(2026, 2, 1, tzinfo=UTC), **frames: DataFrame) -> Snapshot:
        uri = str(tmp_path / "snapshot")
        for name, frame in frames.items():
            frame.write.mode("overwrite").parquet(f"{uri}/{name}")
        rows = {name: frame.count() for name, frame in frames.items()}
        return Snapshot(uri=uri, fingerprint="typed by hand", rows=rows, as_of=as_of)

    return write
