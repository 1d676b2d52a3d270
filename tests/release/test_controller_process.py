"""The controller as a process: its lock, its status, and that it says what is wrong before it starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contract.store.local import LocalStore
from release.controller.loop import lock
from tests.release.fake_controller import FakeController
from tests.release.fakes import a_request, digest_of

PLATFORM = """
store: store
data: data
mlflow: http://127.0.0.1:1
spark: {python: python}
images: {repository: "oci:images"}
serving: {home: serving, python: python}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "local.yaml").write_text(PLATFORM)
    return tmp_path


def run(home: Path, module: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", *module.split(), "--platform", str(home / "local.yaml"), *arguments]
    environment = {**os.environ, "AIRFLOW_HOME": str(home)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_a_second_controller_is_refused(home):
    with lock(home / "serving"):
        done = run(home, "release.controller.loop")
    assert done.returncode == 1
    assert f"another controller holds {home}/serving/controller.lock; stop it first, or let it work" in done.stderr


def test_status_says_what_is_live_and_what_is_broken(home):
    assert run(home, "release status").stdout == "no model has been checked or released yet\n"
    controller = FakeController(LocalStore(str(home / "store")))
    controller.ledger.request(a_request("check", 1))
    controller.reconcile()
    controller.ledger.request(a_request("release", 1))
    controller.reconcile()
    (home / "store/ledger/torn/00000").mkdir(parents=True)
    (home / "store/ledger/torn/00000/00000001.json").write_text("{")

    late, torn = json.loads(run(home, "release status", "--json").stdout)
    assert late["live"] == {"version": 1, "digest": digest_of(1)}
    assert late["outcomes"] == ["check: golden rows answered", "release: all steps held"]
    assert "00000001.json cannot be trusted" in torn["problem"]
    lines = run(home, "release status").stdout.splitlines()
    assert lines[:3] == ["late", f"  live       version 1 {digest_of(1)}", f"  weights    100 % {digest_of(1)}"]
