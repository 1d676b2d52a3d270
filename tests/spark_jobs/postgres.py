"""Starts a real PostgreSQL with its data in a temporary folder."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.spark_jobs.jars import absent
from tests.spark_jobs.mlflow_server import free_port

DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))


class Postgres(NamedTuple):
    binaries: Path
    home: Path
    port: int

    @property
    def url(self) -> str:
        return f"jdbc:postgresql://127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *arguments: str) -> None:
        """As the system's user postgres where the tests run as root, which PostgreSQL refuses."""
        user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        subprocess.run([self.binaries / program, *arguments], check=True, capture_output=True, cwd=self.home, timeout=60, **user)

    def sql(self, statement: str) -> None:
        """Runs SQL as administrator, who needs no password on the socket."""
        self.run("psql", "-v", "ON_ERROR_STOP=1", "-h", str(self.home), "-p", str(self.port), "-U", "postgres", "-c", statement)

    def start(self) -> None:
        self.run(
            "initdb", "-D", "data", "-U", "postgres", "-E", "UTF8", "--no-sync", "--auth-local=trust", "--auth-host=scram-sha-256"
        )
        options = f"-p {self.port} -k {self.home} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", "data", "-m", "immediate", "stop")


@contextmanager
def started() -> Iterator[Postgres]:
    if not DEBIAN:
        absent("PostgreSQL's server (Debian, Ubuntu: apt install postgresql)")
    home = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's own folders are closed to other users
    if os.getuid() == 0:
        os.chown(home, pwd.getpwnam("postgres").pw_uid, -1)
    server = Postgres(DEBIAN[-1], home, free_port())
    try:
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(home)
