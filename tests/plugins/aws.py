"""The stand-in for AWS beside Airflow's tests: started, made to fail, and queried for the calls it got."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv" / "release" / "bin" / "python"  # where moto is
ACCOUNT, REGION, BUCKET = "123456789012", "eu-central-1", "lake"
JOB_FLOW = {
    "release_label": "emr-7.13.0",
    "primary": {"instance_types": ["m7i.xlarge"]},
    "core": {"instance_types": ["r7i.xlarge", "r6i.xlarge"], "on_demand": 1, "spot": 2},
    "subnets": ["subnet-0a1b"],
    "job_flow_role": "nodes",
    "service_role": "emr",
    "log_uri": f"s3://{BUCKET}/logs",
}
# A job's behaviour is a setting: a cluster sees nothing of this process's environment.
SPARK_SUBMIT = f"""#!{PYTHON}
import os, pathlib, subprocess, sys, time
said = [part.partition("=")[2] for part in sys.argv if part.startswith("spark.standIn=")]
entry = next(number for number, part in enumerate(sys.argv) if part.startswith("s3://") and part.endswith(".py"))
application = f"application_{{time.time_ns()}}_{{os.getpid()}}"
print(f"yarn.Client: Submitted application {{application}}", file=sys.stderr, flush=True)
container = pathlib.Path(%r, "1", "logs", application, "container_1_000001")
container.mkdir(parents=True)
command = [sys.executable, "-m", "tests.plugins.stand_in_job", *sys.argv[entry + 1:]]
with (container / "stderr").open("w") as errors, (container / "stdout").open("w") as output:
    environment = {{**os.environ, "PYTHONPATH": {str(ROOT)!r}, "STAND_IN": said[-1], %s}}
    sys.exit(subprocess.call(command, env=environment, stdout=output, stderr=errors))
"""
YARN = """#!/bin/sh
echo "$@" >> {record}
"""


class Aws:
    """One stand-in, with a bucket."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = json.dumps(
            {"conn_type": "aws", "login": "x", "password": "x", "extra": {"region_name": REGION, "endpoint_url": url}}
        )

    def client(self, service: str) -> Any:
        import boto3

        return boto3.client(service, endpoint_url=self.url, region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")

    def fail(self, of: str, code: str, times: int = 1, status: str = "400 Bad Request", **more: Any) -> None:
        requests.post(f"{self.url}/faults", json={"of": of, "code": code, "times": times, "status": status, **more}, timeout=5)

    def recover(self) -> None:
        requests.post(f"{self.url}/faults", json={"of": "", "code": "", "times": 0, "status": ""}, timeout=5)

    def calls(self, operation: str) -> int:
        return requests.get(f"{self.url}/asked", timeout=5).json().count(operation)

    def cluster(self, **more: Any) -> str:
        """A long-running one."""
        request = {
            "Name": "shared",
            "Instances": {"KeepJobFlowAliveWhenNoSteps": True},
            "LogUri": f"s3://{BUCKET}/logs/",
            "ReleaseLabel": "emr-7.13.0",
            "JobFlowRole": "nodes",
            "ServiceRole": "emr",
        }
        return self.client("emr").run_job_flow(**{**request, **more})["JobFlowId"]

    def application(self) -> str:
        request = {"name": "shared", "releaseLabel": "emr-7.1.0-20260101", "type": "SPARK", "clientToken": uuid.uuid4().hex}
        return self.client("emr-serverless").create_application(**request)["applicationId"]


def states(aws: Aws) -> dict[str, str]:
    return {cluster["Id"]: cluster["Status"]["State"] for cluster in aws.client("emr").list_clusters()["Clusters"]}


@contextmanager
def running(programs: Path, nodes: Path) -> Iterator[Aws]:
    """Airflow's connection `aws_test`, and what boto3 finds in the environment, lead there."""
    server = subprocess.Popen(
        [PYTHON, "-m", "tests.emr_stand_in", programs, nodes],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=None if os.environ.get("TELL") else subprocess.DEVNULL,
        text=True,
    )
    before = dict(os.environ)
    try:
        aws = Aws(server.stdout.readline().strip())
        os.environ |= {**variables(aws), "AIRFLOW_CONN_AWS_TEST": aws.connection}
        aws.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield aws
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.kill()
        server.wait()


def variables(aws: Aws) -> dict[str, str]:
    known = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": REGION}
    return {**known, "AWS_ENDPOINT_URL_S3": aws.url}


def write_programs(folder: Path, nodes: Path, aws: Aws) -> None:
    """Stubs: the job is tests/plugins/stand_in_job.py, at once and without Spark."""
    given = ", ".join(f"{name!r}: {value!r}" for name, value in variables(aws).items())
    for name, text in {
        "spark-submit": SPARK_SUBMIT % (str(nodes), given),
        "yarn": YARN.format(record=folder / "yarn.said"),
    }.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def environment(folder: Path) -> Path:
    """The interpreter of an environment of Spark's with nothing in it."""
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "pyvenv.cfg").write_text("home = /opt/python/bin\n")
    (folder / "requirements.lock").write_text("pyspark==4.0.2\n")
    return folder / "bin" / "python"
