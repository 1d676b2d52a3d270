"""A checkout of its own with services of its own, run as `make demo` runs them, so that tests kill no other's processes."""

import os
import shutil
import signal
import subprocess
import time
import xmlrpc.client
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from supervisor.xmlrpc import SupervisorTransport

from demo.paths import PORTS
from demo.ports import is_taken
from tests.waiting import until

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
ORPHANS_S = 3  # a process that checks for its parent each second may live on for so long


def require_ports() -> None:
    """Skips the test where another process holds a port of the services; in CI the test fails."""
    port = next(filter(is_taken, PORTS), None)
    if port:
        reason = f"port {port}, which {PORTS[port]} needs, is taken: stop its owner (`make stop`, if it is the demo) and try again"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


class Checkout:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".demo"
        self.inbox = self.home / "inbox.txt"
        self.condemned = self.home / "condemned"
        self.platform = folder / "dags/platforms/local.yaml"

    def make(self) -> None:
        """The files that git tracks, as they are now; the same environments; and one small model with its data."""
        shutil.rmtree(self.folder, ignore_errors=True)
        names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
        for name in filter(None, names):
            if (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.folder / name)
        (self.folder / ".venv").symlink_to(ROOT / ".venv")
        shutil.copy2(HERE / "trip_delay.yaml", self.folder / "dags/models")
        shutil.copy2(HERE / "condemned.py", self.folder / "plugins")
        self.condemned.mkdir(parents=True)
        self.python("spark", str(HERE / "trips.py"), str(self.home / "data/trips"))

    def start(self) -> None:
        """Returns when everything answers."""
        self.python("release", "-c", "from demo import services; services.start()")

    def stop(self) -> None:
        self.python("release", "-m", "demo.stop")

    def end(self) -> list[str]:
        """Stops everything; returns what a stop had left, which is gone now, too."""
        self.stop()
        time.sleep(ORPHANS_S)
        left = processes_with(str(self.folder))
        for process in left:
            process.kill()
        return list(left.values())

    def python(self, environment: str, *arguments: str) -> None:
        command = [str(self.folder / ".venv" / environment / "bin/python"), *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]

    def service(self, name: str) -> "Program":
        """One of Airflow's processes, MLflow, or the inbox."""
        return Program(self.home / "services.sock", name)

    def on_host(self, name: str) -> "Program":
        """The controller, Traefik, or a model server."""
        return Program(self.home / "serving/supervisor.sock", name)

    def processes(self) -> list[str]:
        """What runs from this checkout, whoever started it."""
        return list(processes_with(str(self.folder)).values())

    def _environment(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW", "RETRAINING"))}
        return {**ours, "PYTHONPATH": str(self.folder)}


class Program:
    """A program that a supervisord keeps running."""

    def __init__(self, supervisor: Path, name: str) -> None:
        self.name = name
        self._supervisor = supervisor

    @property
    def pid(self) -> int:
        return self._ask("getProcessInfo")["pid"]

    def kill(self) -> None:
        """With −9; returns when it runs again."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.pid not in (0, pid), f"{self.name} runs again", seconds=60)

    def stop(self) -> None:
        self._ask("stopProcess")

    def start(self) -> None:
        self._ask("startProcess")

    def _ask(self, method: str) -> Any:
        transport = SupervisorTransport(serverurl=f"unix://{self._supervisor}")
        with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(self.name)


def processes_with(*parts: str) -> dict[psutil.Process, str]:
    """Those whose name, command line and working directory hold all of the parts, with the three."""
    matches = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            description = f"{process.name()} {' '.join(process.cmdline())} {process.cwd()}"
            if process.status() != psutil.STATUS_ZOMBIE and all(part in description for part in parts):
                matches[process] = description
    return matches
