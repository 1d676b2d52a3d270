"""An empty store of each kind; a suite's conftest.py imports the fixtures that its tests use."""

import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from contract.store.base import Store
from contract.store.factory import store_at
from tests.hadoop_cluster import Cluster, running
from tests.waiting import until

MOTO = Path(__file__).resolve().parents[1] / ".venv/release/bin/moto_server"  # not every suite's environment has it
REGION = "eu-central-1"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[dict[str, str]]:
    """An S3 on this machine with the bucket «store»: the environment variables by which boto3 finds it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    server = subprocess.Popen([MOTO, "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL, env=clean)
    secrets = {"aws_access_key_id": "tests", "aws_secret_access_key": "tests"}
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: listens(port), "moto listens", 40, every_s=0.05)
        client = boto3.client("s3", endpoint_url=url, region_name=REGION, **secrets)
        client.create_bucket(Bucket="store", CreateBucketConfiguration={"LocationConstraint": REGION})
        environment = {name.upper(): value for name, value in secrets.items()}
        yield {**environment, "AWS_ENDPOINT_URL_S3": url, "AWS_DEFAULT_REGION": REGION}
    finally:
        server.terminate()
        server.wait(timeout=20)


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def s3(s3_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket; boto3 finds it as it finds any other, in the environment."""
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    return "s3://store"


@pytest.fixture(scope="session")
def hdfs_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("hdfs"), nodes=0) as cluster:
        yield cluster


@pytest.fixture
def hdfs(hdfs_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> str:
    """A real HDFS on this machine, found by Hadoop's own configuration."""
    monkeypatch.setenv("HADOOP_CONF_DIR", str(hdfs_cluster.conf))
    return hdfs_cluster.fs


@pytest.fixture(params=["folder", "bucket", pytest.param("hdfs", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty one of each kind."""
    if request.param == "folder":
        return store_at(str(tmp_path / "store"))
    root = request.getfixturevalue({"bucket": "s3", "hdfs": "hdfs"}[request.param])
    return store_at(f"{root}/{uuid.uuid4().hex}/retraining")
