"""Spark on the worker's own host, by spark-submit from Spark's environment. The job ends with its task."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from airflow.sdk import conf

from contract.documents import JobRequest
from contract.spark import Spark
from plugins.retraining.engines.base import Application, Engine, Job
from plugins.retraining.engines.spark_submit import RUN, environment, hook_for
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.task_log import Log

GRACE_S = 3
LAST_LINES, LAST_BYTES = 20, 64 * 1024
CORES = os.cpu_count() or 1


class LocalEngine(Engine):
    """Knows the jobs that it started, and finds those that a killed task of this host left running for a moment."""

    holds_slot = True

    def __init__(self, spark: Spark) -> None:
        self.spark = spark
        self._own: dict[str, LocalProcess] = {}

    def find(self, tag: str, live: bool = False) -> list[Application]:
        return [Application(id, "running") for id, command in groups() if tag in command]

    def submit(self, job: Job, log: Log) -> str:
        """The job's standard output goes to `log`; that and Spark's output go to the log file."""
        file = log_file(job.request)
        log.info("%s: Spark's whole output is in %s", job.request.job, file)
        file.parent.mkdir(parents=True, exist_ok=True)
        process = LocalProcess(self.command(job), self._environment(), file, log)
        self._own[process.id] = process
        return process.id

    def state(self, id: str) -> Application:
        process = self._own.get(id)
        if process is None:
            return Application(id, "running" if id in dict(groups()) else "ended")
        return process.application()

    def stop(self, id: str) -> None:
        """SIGTERM first, so that Spark removes its scratch folders."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self._is_gone(id):
                _signal_group(id, number)
                _await(lambda: self._is_gone(id), GRACE_S)

    def _is_gone(self, id: str) -> bool:
        return self._own[id].has_ended if id in self._own else id not in dict(groups())

    def logs(self, id: str) -> list[str]:
        return self._own[id].last_lines() if id in self._own else []

    def command(self, job: Job) -> list[str]:
        """The provider's command line, from the connection's master and the settings; the tags are only for `find`."""
        settings = {**job.settings, "spark.yarn.tags": ",".join(job.tags)}
        return hook_for(self.spark, job, settings)._build_spark_submit_command(str(RUN))

    def _environment(self) -> dict[str, str]:
        parents = ",".join(f"{pid}:{started_at(pid)}" for pid in (os.getpid(), os.getppid()))
        return environment(self.spark, RETRAINING_PARENT=parents)


class LocalProcess:
    """spark-submit as leader of its own process group, and its output."""

    def __init__(self, command: list[str], env: dict[str, str], file: Path, log: Log) -> None:
        self._file = file
        self._started = time.monotonic()
        with file.open("a") as output:
            try:
                self._popen = subprocess.Popen(  # noqa: S603  (a list, built here)
                    command, env=env, stdout=subprocess.PIPE, stderr=output, text=True, start_new_session=True
                )
            except OSError as error:
                raise EngineTrouble(f"{command[0]} could not be started: {error.strerror}; see spark.python") from error
        self.id = f"{self._popen.pid}:{started_at(self._popen.pid)}"
        self._passing = threading.Thread(target=_pass_on, args=(self._popen.stdout, file, log), daemon=True)
        self._passing.start()

    def application(self) -> Application:
        code = self._popen.poll()
        seconds = time.monotonic() - self._started
        hours = CORES * seconds / 3600
        if code is None:
            return Application(self.id, "running", seconds=seconds, vcpu_hours=hours)
        _signal_group(self.id, signal.SIGKILL)  # the rest of the group, after its leader ended
        self._passing.join(GRACE_S)
        return Application(self.id, "ended", f"exit code {code}", seconds, vcpu_hours=hours)

    @property
    def has_ended(self) -> bool:
        return self._popen.poll() is not None

    def last_lines(self) -> list[str]:
        with self._file.open("rb") as file:
            file.seek(max(0, self._file.stat().st_size - LAST_BYTES))
            return file.read().decode(errors="replace").splitlines()[-LAST_LINES:]


def groups() -> Iterator[tuple[str, str]]:
    """Id and command line of each process group leader of this host."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(folder.name)
            if os.getpgid(pid) == pid:
                yield f"{pid}:{started_at(pid)}", (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def started_at(pid: int) -> int:
    """Start time in clock ticks since boot, which distinguishes processes that reuse an id."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19])


def log_file(request: JobRequest) -> Path:
    return Path(conf.get("logging", "base_log_folder"), "spark", request.run.model, f"{request.job}-{request.key}.log")


def _pass_on(lines: TextIO, file: Path, log: Log) -> None:
    with file.open("a") as output:
        for line in lines:
            output.write(line)
            output.flush()
            log.info(line.rstrip())


def _signal_group(id: str, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended
        os.killpg(int(id.partition(":")[0]), number)


def _await(holds: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.05)
