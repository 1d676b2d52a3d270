"""A Hadoop for tests: each server a process group of its own, to be started, killed with −9 and started again."""

import os
import random
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from demo.platforms.hadoop import Hadoop
from demo.platforms.hadoop_conf import Ports
from demo.ports import is_taken
from demo.preflight import java_problem

FIRST_PORTS = range(20000, 30000, 100)  # below those that the system gives to clients: a killed server finds its own free again


class Server:
    """One of Hadoop's processes; its output is in `log`."""

    def __init__(self, name: str, command: str, log: Path) -> None:
        self.name, self.log = name, log
        self._command = shlex.split(command)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """None unless it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def run_in(self, *command: str) -> None:
        """Runs it by this command, which is given its own."""
        self._command = [*command, *self._command]

    def start(self, *options: str) -> None:
        """`options` hold for this process only."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def kill(self) -> None:
        """With −9; returns when it is gone. A NodeManager's containers run on."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Cluster(Hadoop):
    """A Hadoop whose servers are `namenode`, `datanode` and, unless it is HDFS alone, `resourcemanager` and `nodemanagers`."""

    def __init__(self, home: Path, nodes: int = 1, memory_mb: int = 8192, vcores: int = 8) -> None:
        super().__init__(home, nodes, free_first_port(nodes), memory_mb, vcores)
        logs = self.home / "logs"
        self.servers = {name: Server(name, command, logs / f"{name}.log") for name, command in self.commands().items()}
        self.namenode, self.datanode = self.servers["namenode"], self.servers["datanode"]
        if nodes:
            self.resourcemanager = self.servers["resourcemanager"]
            self.nodemanagers = [self.servers[f"nodemanager{n + 1}"] for n in range(nodes)]

    def start(self) -> None:
        """Returns when everything answers."""
        self.make()
        (self.home / "logs").mkdir(exist_ok=True)
        for server in self.servers.values():
            server.start()
        self.await_ready()

    def stop(self) -> None:
        """Leaves no process, containers included."""
        for server in self.servers.values():
            server.kill()
        self.kill_containers()


@contextmanager
def running(home: Path, nodes: int = 1, memory_mb: int = 8192, vcores: int = 8) -> Iterator[Cluster]:
    require_programs()
    cluster = Cluster(home, nodes, memory_mb, vcores)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def require_programs() -> None:
    """Skips the test where Java or Maven is absent, but for CI."""
    problem = java_problem() or (None if shutil.which("mvn") else "Hadoop needs Maven and no mvn is on PATH")
    if problem:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(problem)


def free_first_port(nodes: int) -> int:
    """Random, because suites running side by side may choose at the same time."""
    blocks = random.sample(FIRST_PORTS, len(FIRST_PORTS))
    return next(first for first in blocks if not any(is_taken(port) for port in Ports(first, nodes).all()))
