"""Spark in the worker's own host, through spark-submit from Spark's environment. The job dies with its task."""

import contextlib
import os
import signal
import subprocess
from logging import Logger
from pathlib import Path
from typing import TextIO

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.sdk import conf

from contract.documents import JobRequest
from contract.platform import Spark
from plugins.retraining.engines.base import Engine
from plugins.retraining.errors import EngineTrouble

BUNDLE = Path(__file__).resolve().parents[3]
GRACE_S = 3


class LocalEngine(Engine):
    def __init__(self, spark: Spark) -> None:
        self.spark = spark
        self._process: subprocess.Popen[str] | None = None

    def run(self, request: JobRequest, path: str, log: Logger) -> int:
        """The job's own lines (its standard output) go to `log`, and with all that Spark says into the log file."""
        command = self.command(request, path)
        file = log_file(request)
        log.info("%s: Spark's whole output is in %s", request.job, file)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as output:
            self._process = self._start(command, output)
            try:
                return _pass_on(self._process, output, log)
            finally:
                self.stop()  # also what is left of the group when its leader ended
                self._process = None

    def stop(self) -> None:
        process = self._process
        if process is None:
            return
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        _signal_group(process.pid, signal.SIGKILL)

    def command(self, request: JobRequest, path: str) -> list[str]:
        """The provider's command line, from the connection's master and the platform's conf."""
        hook = SparkSubmitHook(
            conn_id=self.spark.connection,
            conf={name: _spark_text(value) for name, value in self.spark.conf.items()},
            name=f"{request.run.model} {request.job}",
            application_args=[request.job, "--request", path],
        )
        master = hook._connection["master"]  # the hook takes an absent connection for yarn, silently
        if not master.startswith("local"):
            raise EngineTrouble(
                f"the Airflow connection {self.spark.connection} is missing or its master is {master}, "
                "but engine local needs local[*]: add it (type spark, host local[*]), or choose another platform"
            )
        return hook._build_spark_submit_command(str(BUNDLE / "spark_jobs" / "run.py"))

    def _start(self, command: list[str], output: TextIO) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(  # noqa: S603  (a list, built here)
                command, env=environment(self.spark), stdout=subprocess.PIPE, stderr=output, text=True, start_new_session=True
            )
        except OSError as error:
            raise EngineTrouble(f"{command[0]} of {self.spark.python} could not be started: {error.strerror}") from error


def environment(spark: Spark) -> dict[str, str]:
    """Spark's environment first on PATH; nothing of Airflow's, whose variables may hold secrets."""
    interpreter = Path(os.path.abspath(spark.python))  # not resolved: a virtual environment's python is a link
    homes = list(interpreter.parents[1].glob("lib/python3*/site-packages/pyspark"))
    if not homes:
        raise EngineTrouble(f"there is no pyspark in the environment of {interpreter}: set spark.python in the platform's file")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
    return ours | {
        "PATH": f"{interpreter.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(BUNDLE),
        "PYTHONUNBUFFERED": "1",
        "PYSPARK_PYTHON": str(interpreter),
        "PYSPARK_DRIVER_PYTHON": str(interpreter),
        "SPARK_HOME": str(homes[0]),
        "RETRAINING_PARENT": ",".join(f"{pid}:{started_at(pid)}" for pid in (os.getpid(), os.getppid())),
    }


def started_at(pid: int) -> int:
    """Clock ticks since boot: with it, a process id that came back for another process is told from the first."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19])


def log_file(request: JobRequest) -> Path:
    return Path(conf.get("logging", "base_log_folder"), "spark", request.run.model, f"{request.job}-{request.key}.log")


def _pass_on(process: subprocess.Popen[str], output: TextIO, log: Logger) -> int:
    for line in process.stdout or ():
        output.write(line)
        output.flush()
        log.info(line.rstrip())
    return process.wait()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended
        os.killpg(pid, number)


def _spark_text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
