"""What EMR's engines request, piece by piece, and what they do without."""

import io
import logging
import subprocess
import sys
import tarfile

import pytest

from contract.platform import Platform
from contract.spark import Limits
from contract.store.local import LocalStore
from plugins.retraining.engines.artifact_staging import ship_environment
from plugins.retraining.engines.aws import allocation
from plugins.retraining.engines.emr import _vcpus
from plugins.retraining.engines.spark_submit import file_systems
from tests.plugins import aws as stand_in

LOG = logging.getLogger("retraining.test")
LAKE, S3A = "s3://lake", {"spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem"}


@pytest.mark.parametrize(
    ("settings", "most", "expected"),
    [
        ({"spark.executor.instances": "4"}, None, {"spark.dynamicAllocation.enabled": "false"}),
        ({"spark.executor.instances": "4"}, 9, {"spark.dynamicAllocation.enabled": "false"}),
        ({}, 9, {"spark.dynamicAllocation.maxExecutors": "9"}),
        ({}, None, {}),
    ],
)
def test_a_number_of_executors_that_is_set_is_kept_and_so_is_the_limit(settings, most, expected):
    assert allocation(settings, Limits(maxExecutors=most)) == expected


@pytest.mark.parametrize(
    ("conf", "expected"),
    [
        (("spark.driver.cores=2", "spark.executor.instances=3", "spark.executor.cores=4"), 14),
        (("spark.executor.instances=3", "spark.executor.cores=4"), 13),
        (("spark.dynamicAllocation.maxExecutors=8", "spark.executor.instances=3", "spark.executor.cores=4"), 33),
        (("spark.executor.instances=3",), 0),
        (("spark.executor.cores=4",), 0),
        ((), 0),
    ],
)
def test_vcpus_are_counted_from_the_request_and_not_guessed(conf, expected):
    assert (
        _vcpus(["spark-submit", *(part for setting in conf for part in ("--conf", setting)), "s3://store/code/run.py"]) == expected
    )


@pytest.mark.parametrize(
    ("store", "data", "expected"),
    [("/store", "/data", {}), ("hdfs://n/store", "hdfs://n/data", {}), (LAKE, "/data", S3A), ("/store", LAKE, S3A)],
)
def test_plain_hadoop_gets_a_file_system_for_s3_where_a_bucket_is_used(store, data, expected):
    assert file_systems(Platform.model_construct(store=store, data=data)) == expected


@pytest.mark.parametrize(("on_nodes", "home"), [("/usr/bin/python3.11", "/usr/bin"), ("", None)])
def test_the_shipped_environment_uses_the_nodes_interpreter(tmp_path, on_nodes, home):
    python = stand_in.environment(tmp_path / "env")
    store = LocalStore(str(tmp_path / "store"))

    there = ship_environment(store, str(python), LOG, on_nodes)

    path = there.removeprefix(f"file://{store.root}/")
    with tarfile.open(fileobj=io.BytesIO(store.read(path) or b"")) as packed:
        link = packed.getmember("bin/python").linkname
        config = packed.extractfile("pyvenv.cfg").read().decode()
    resolved = python.resolve()
    assert (link, config) == (on_nodes or str(resolved), f"home = {home or resolved.parent}\n")


def test_reading_the_dags_imports_nothing_of_aws():
    program = "import plugins.retraining.dag, sys; print(*{'boto3', 'botocore', 'airflow.providers.amazon.aws'} & set(sys.modules))"

    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.splitlines()[-1] == ""
