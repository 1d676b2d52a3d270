import os
import uuid
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from contract.store.base import Store, store_at
from tests.hadoop_cluster import running


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A bucket of an S3 on this machine; boto3 finds it as it finds any other, in the environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address, port = server.get_host_and_port()
    given = {"AWS_ENDPOINT_URL_S3": f"http://{address}:{port}", "AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests"}
    before = dict(os.environ)
    os.environ.update({**given, "AWS_DEFAULT_REGION": "eu-central-1"})
    boto3.client("s3").create_bucket(Bucket="store", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    yield "s3://store"
    os.environ.clear()
    os.environ.update(before)
    server.stop()


@pytest.fixture(scope="session")
def hdfs(tmp_path_factory) -> Iterator[str]:
    """A real one on this machine, found as any other is: by Hadoop's own configuration."""
    with running(tmp_path_factory.mktemp("hdfs"), nodes=0) as cluster, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HADOOP_CONF_DIR", str(cluster.conf))
        yield cluster.fs


@pytest.fixture(params=["folder", "bucket", pytest.param("hdfs", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest, tmp_path) -> Store:
    """An empty one of each kind."""
    if request.param == "folder":
        return store_at(str(tmp_path / "store"))
    root = request.getfixturevalue({"bucket": "s3", "hdfs": "hdfs"}[request.param])
    return store_at(f"{root}/{uuid.uuid4().hex}/retraining")
