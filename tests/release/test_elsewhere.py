"""The serving host in a network of its own: it shares only a bucket and a registry with Airflow's side."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import boto3
import pytest
from moto.server import ThreadedMotoServer

from contract.documents import GoldenRows, Image
from contract.serving import Serving
from contract.store.factory import store_at
from images.base import embedded_base
from images.package import Contents, package
from images.references import repository_of
from release.ledger.entries import Outcome
from release.ledger.ledger import Ledger
from tests.release.fakes import request_of
from tests.release.local import ROOT, until
from tests.release.registry import LocalRegistry, skip, skip_without_registry
from tests.release.test_mlflow_alias import Mlflow

pytestmark = pytest.mark.integration
AIRFLOW, SERVING = "10.213.57.1", "10.213.57.2"
NETWORK, OURS, THEIRS = f"serving-{os.getpid()}", "rt-airflow", "rt-serving"
LIMITS = Serving(canary=[50, 100], hold="1s", min_requests=20, max_error_rate=0.06, max_p95="2s", max_hold="2s")
PLATFORM = """\
store: s3://store/elsewhere
data: data
mlflow: {mlflow}
spark: {{python: python}}
images: {{repository: "http://{registry}/models"}}
serving: {{home: serving, python: {root}/.venv/serving/bin/python, servers: 1}}
"""


class Elsewhere(NamedTuple):
    home: Path
    repository: str
    ledger: Ledger
    mlflow: Mlflow

    def image(self, version: int) -> Image:
        files = {path.name: path.read_bytes() for path in (ROOT / "tests/serving/models/regression").iterdir()}
        contents = Contents("late", version, datetime(2013, 5, version, tzinfo=UTC), files, {})
        repository = repository_of(self.repository, "late")
        return package(contents, embedded_base(ROOT / "serving", repository), repository)

    def ended(self, kind: str, image: Image, live: Image | None = None, **limits: object) -> Outcome:
        request = request_of(
            kind,
            id=f"{kind}-{image.version}",
            model="late",
            image=image,
            golden="golden.json",
            serving=LIMITS.model_copy(update=limits),
            expected_live=live and live.digest,
            who="ann",
            why="a test asks",
        )
        self.ledger.request(request)
        return until(lambda: self.ledger.outcome("late", request.id), f"{request.id} has ended", seconds=120)

    def answers(self) -> str:
        """The version that the router there answers with."""
        answer = on_host("curl", "-s", "-m", "3", "http://127.0.0.1:8000/late/version")
        return json.loads(answer.stdout)["version"] if answer.stdout.startswith("{") else ""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def on_host(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(["ip", "netns", "exec", NETWORK, *command], capture_output=True, text=True)


@pytest.fixture
def network() -> Iterator[None]:
    if os.geteuid() or shutil.which("ip") is None:
        skip("a network of its own needs root and iproute2")
    run("ip", "netns", "add", NETWORK)
    try:
        run("ip", "link", "add", OURS, "type", "veth", "peer", "name", THEIRS, "netns", NETWORK)
        run("ip", "address", "add", f"{AIRFLOW}/30", "dev", OURS)
        run("ip", "link", "set", OURS, "up")
        for command in (f"address add {SERVING}/30 dev {THEIRS}", f"link set {THEIRS} up", "link set lo up"):
            run("ip", "-n", NETWORK, *command.split())
        yield
    finally:
        run("ip", "netns", "delete", NETWORK)


@pytest.fixture
def elsewhere(network: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    skip_without_registry()
    registry, s3, mlflow = (
        LocalRegistry(tmp_path / "registry", address=AIRFLOW),
        ThreadedMotoServer(AIRFLOW, 0, False),
        Mlflow(AIRFLOW),
    )
    threading.Thread(target=mlflow.serve_forever, daemon=True).start()
    s3.start()
    given = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "eu-central-1"}
    for name, value in {**given, "AWS_ENDPOINT_URL_S3": f"http://{AIRFLOW}:{s3.get_host_and_port()[1]}"}.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="store", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    with tempfile.TemporaryDirectory(prefix="host-") as folder:
        home = Path(folder)
        (home / "far.yaml").write_text(PLATFORM.format(mlflow=mlflow.url, registry=registry.host, root=ROOT))
        command = [sys.executable, "-m", "release.routing.host", "--platform", str(home / "far.yaml")]
        environment = {**os.environ, "AIRFLOW_HOME": str(home), "PYTHONPATH": str(ROOT)}
        with (home / "log").open("w") as log:
            host = subprocess.Popen(["ip", "netns", "exec", NETWORK, *command], env=environment, stdout=log, stderr=log)
        yield Elsewhere(home, f"http://{registry.host}/models", Ledger(store_at("s3://store/elsewhere")), mlflow)
        host.terminate()
        host.wait(30)
    mlflow.shutdown()
    s3.stop()
    registry.stop()


def test_a_controller_elsewhere_releases_and_goes_back_while_the_network_is_cut(elsewhere):
    golden = GoldenRows(columns=("distance", "speed"), rows=((1.0, 2.0),), expected=((10.5,),))
    elsewhere.ledger.store.create("golden.json", golden.model_dump_json().encode())
    one, two = elsewhere.image(1), elsewhere.image(2)
    assert elsewhere.ended("check", one).done
    assert elsewhere.ended("release", one).done
    assert elsewhere.ended("check", two).done
    assert elsewhere.ended("release", two, live=one, probation=timedelta(minutes=10)).done
    assert (elsewhere.answers(), elsewhere.mlflow.aliases) == ("2", {("late", "champion"): "2"})

    run("ip", "link", "set", OURS, "down")
    time.sleep(1)
    begun = time.monotonic()
    (elsewhere.home / "serving/commands/late.rollback").write_text("bob: complaints")
    until(lambda: elsewhere.answers() == "1", "all is back on version 1", seconds=60)
    took = time.monotonic() - begun
    run("ip", "link", "set", OURS, "up")
    print(f"back after {took:.1f} s without a network")
    assert took < 15
    until(lambda: elsewhere.ledger.champion("late") == one, "it is recorded afterwards", seconds=90)
    until(lambda: elsewhere.mlflow.aliases == {("late", "champion"): "1"}, "the alias follows", seconds=90)
