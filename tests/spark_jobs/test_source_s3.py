"""s3:// on a plain Hadoop: sources are read from a bucket, and the snapshot is written to one."""

import os
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pyspark
import pytest
from pyspark.sql import SparkSession

from contract.errors import BadData
from contract.source import Source
from spark_jobs.data.snapshot import freeze
from spark_jobs.data.sources import read_sources
from tests.spark_jobs.jars import ROOT, absent
from tests.spark_jobs.mlflow_server import free_port

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("jars")]

AS_OF = datetime(2026, 1, 10, 6, tzinfo=UTC)
MOTO = ROOT / ".venv/release/bin/moto_server"


@pytest.fixture(scope="module")
def bucket(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if pyspark.__version__.startswith("3."):
        pytest.skip("the fetched hadoop-aws is made for Hadoop 3.4")
    if not MOTO.exists():
        absent("moto, of the environment .venv/release")
    address = f"127.0.0.1:{free_port()}"
    host, _, port = address.partition(":")
    server = subprocess.Popen([MOTO, "-H", host, "-p", port], stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": ""})
    settings = {
        "fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",  # EMR has an s3:// of its own
        "fs.s3a.endpoint": f"http://{address}",
        "fs.s3a.endpoint.region": "eu-central-1",
        "fs.s3a.access.key": "tests",
        "fs.s3a.secret.key": "tests",
        "fs.s3a.path.style.access": "true",
    }
    for name, value in settings.items():
        spark.conf.set(name, value)
    try:
        make_bucket(f"http://{address}/lake")
        yield "s3://lake"
    finally:
        for name in settings:
            spark.conf.unset(name)
        server.terminate()
        server.wait(timeout=20)


def make_bucket(url: str) -> None:
    for _ in range(100):
        try:
            urlopen(Request(url, method="PUT"), timeout=5).close()
            return
        except URLError:
            time.sleep(0.2)
    raise AssertionError(f"{url} does not answer")


def test_sources_and_the_snapshot_may_lie_in_buckets(spark: SparkSession, bucket: str, tmp_path: Path) -> None:
    rows = spark.createDataFrame([("a", datetime(2026, 1, 9)), ("b", datetime(2026, 1, 11))], "id string, at timestamp")
    rows.write.parquet(f"{bucket}/data/flights")
    rows.repartition(1).write.format("delta").save(f"{bucket}/elsewhere/planes")
    sources = {
        "flights": Source(format="parquet", path="flights", time_column="at", window="2d"),
        "planes": Source(format="delta", path=f"{bucket}/elsewhere/planes"),
    }

    read = read_sources(spark, f"{bucket}/data", sources, AS_OF)
    frozen = freeze(spark, read, sources, f"{bucket}/snapshots/one", AS_OF)

    assert frozen.snapshot.rows == {"flights": 1, "planes": 2}
    assert frozen.snapshot.versions == {"planes": 0}
    assert spark.read.parquet(f"{bucket}/snapshots/one/flights").collect() == [("a", datetime(2026, 1, 9))]


def test_a_path_that_is_not_in_the_bucket_is_told(spark: SparkSession, bucket: str) -> None:
    with pytest.raises(BadData, match="s3://lake/data/nowhere does not exist; check the source's path and its last delivery"):
        read_sources(spark, f"{bucket}/data", {"planes": Source(format="parquet", path="nowhere")}, AS_OF)
