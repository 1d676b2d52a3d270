"""Real servers in processes of their own, tested over real HTTP."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
MODELS = Path(__file__).parent / "models"
DIGEST = "sha256:" + "ab" * 32


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class ServingProcess:
    """`started_s`: from the process's start to its first right answer."""

    def __init__(self, folder: Path, log: Path, environment: dict[str, str]):
        self.port = free_port()
        self.log = log
        environment = os.environ | {"MODEL_NAME": "demo", "MODEL_VERSION": "7", "IMAGE_DIGEST": DIGEST} | environment
        command = [sys.executable, "-m", "serving", "--model", str(folder), "--host", "127.0.0.1", "--port", str(self.port)]
        begun = time.perf_counter()
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        self._wait_until_ready(begun + 60)
        self.started_s = time.perf_counter() - begun

    def _wait_until_ready(self, deadline: float) -> None:
        while time.perf_counter() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                assert self.get("/v2/health/ready").status == 200
                return
            except ConnectionRefusedError:
                time.sleep(0.02)
        raise AssertionError(f"not ready in time: {self.log.read_text()}")

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Reply:
        return self.ask("GET", path)

    def post(self, path: str, content: Any) -> Reply:
        """`content`: bytes as they are, anything else as JSON."""
        return self.ask("POST", path, content if isinstance(content, bytes) else json.dumps(content).encode())

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(40)


def free_port() -> int:
    for port in range(20000 + os.getpid() % 9000, 30000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no free port below 30000")


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ServingProcess]]:
    """Starts a server of one of the models beside this file, with more in its environment."""
    started = []

    def start_one(name: str, **environment: str) -> ServingProcess:
        server = ServingProcess(MODELS / name, tmp_path_factory.mktemp(name) / "log", environment)
        started.append(server)
        return server

    yield start_one
    for server in started:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="session")
def binary(start: Callable[..., ServingProcess]) -> ServingProcess:
    return start("binary")


@pytest.fixture(scope="session")
def multiclass(start: Callable[..., ServingProcess]) -> ServingProcess:
    return start("multiclass")


@pytest.fixture(scope="session")
def regression(start: Callable[..., ServingProcess]) -> ServingProcess:
    return start("regression")
