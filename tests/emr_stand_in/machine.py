"""What runs the commands of steps and job runs, and brings to S3 what they say."""

import gzip
import os
import re
import signal
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

APPLICATION = re.compile(r"application_\d+_\d+")


class Machine:
    """Runs commands as the cluster's primary node does, and brings what they say to S3."""

    def __init__(self, programs: Path, nodes: Path) -> None:
        self.programs, self.nodes = programs, nodes
        self.s3: Any = None

    def start(self, command: list[str]) -> "Running":
        environment = {"PATH": f"{self.programs}:/usr/local/bin:/usr/bin:/bin", "HOME": str(self.programs), "LANG": "C.UTF-8"}
        return Running(command, environment)

    def kill_applications(self, said: str) -> None:
        for application in dict.fromkeys(APPLICATION.findall(said)):
            self.start(["yarn", "application", "-kill", application]).end()

    def driver_says(self, application: str) -> dict[str, str]:
        """Of YARN's first container: name of the file, below the application's folder, and its text."""
        files = self.nodes.glob(f"*/logs/{application}/container_*_000001/std*")
        return {f"{file.parent.name}/{file.name}": file.read_text(errors="replace") for file in files}

    def put(self, folder: str, texts: dict[str, str]) -> None:
        url = urlsplit(folder)
        for name, text in texts.items():
            key = f"{url.path.strip('/')}/{name}.gz"
            self.s3.put_object(Bucket=url.netloc, Key=key, Body=gzip.compress(text.encode()))


class Running:
    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["/usr/bin/env", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.said = ("", "")

    def end(self) -> int:
        self.said = self._process.communicate()
        return self._process.returncode

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def now() -> datetime:
    """As moto keeps times."""
    return datetime.now(UTC).replace(tzinfo=None)
