"""Fixture `mlflow_url`: one real MLflow server for the session.

A test module asks for it by `pytest_plugins = ["tests.spark_jobs.mlflow_server"]`.
"""

import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

START_TIMEOUT_S = 120  # the first start makes the database's tables


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    with open(home / "server.log", "wb") as log:
        server = subprocess.Popen(server_command(home, port), stdout=log, stderr=log, env=QUIET)
    try:
        wait_until_up(f"http://127.0.0.1:{port}/health", server, home / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=20)


# No calls home, and none of the seven job workers that a tracking server does not need.
QUIET = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def server_command(home: Path, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", str(home / "artifacts")),
    ]


def free_port() -> int:
    for port in random.sample(range(20000, 30000), 50):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise OSError("no free port between 20000 and 29999")


def wait_until_up(url: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert server.poll() is None, f"MLflow exited {server.returncode}: {log.read_text()[-2000:]}"
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise TimeoutError(f"MLflow did not answer within {START_TIMEOUT_S} s; see {log}")
