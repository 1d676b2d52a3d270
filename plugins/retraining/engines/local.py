"""Spark on the worker's own host, by spark-submit from Spark's environment.

An application belongs to no task: it writes into its log file and into the store, and lives while any task renews its lease (see
spark_jobs/runtime/lease.py). Its files lie in Airflow's log folder under the name of its first job: `.log`, `.lease`, and once it
has ended `.exit` with exit code and seconds. The other jobs' names are links to the log.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from airflow.sdk import conf

from contract.spark import Spark
from plugins.retraining.engines.base import Application, Engine, Submission
from plugins.retraining.engines.spark_submit import RUN, environment, hook_for
from plugins.retraining.task_log import Log

GRACE_S = 3
LEASE_S = 60
LAST_LINES, LAST_BYTES = 20, 64 * 1024
CORES = os.cpu_count() or 1
TICKS_S = os.sysconf("SC_CLK_TCK")
FIRST_JOB = re.compile(r" --job runs/([^/ ]+)/[^/ ]+/([a-z_]+-[0-9a-f]{32})\.request\.json")
# The shell is the leader of the application's process group, and keeps its end for whoever waits then.
KEEP_EXIT = 'begun=$(date +%s); file=$0; "$@"; code=$?; echo "$code $(($(date +%s) - begun))" > "$file"; exit $code'


class Process(NamedTuple):
    """`application`: the id of that which it belongs to; `started`: seconds since the host's boot."""

    application: str
    group: int
    command: str
    started: float


class LocalEngine(Engine):
    """Remembers nothing: live applications are found among the host's processes, ended ones by their files."""

    waits_in_task = True

    def __init__(self, spark: Spark) -> None:
        self.spark = spark

    @property
    def carries_run(self) -> bool:
        """Other executors may start a run's tasks on several hosts, or in pods that end with them."""
        return bool(conf.get("core", "executor") == "LocalExecutor")

    def find(self, tag: str, live: bool = False) -> list[Application]:
        """Of ended applications only those with this key."""
        running = list(processes())
        ids = {process.application for process in running if tag in process.command}
        if not live:
            logs = [log.resolve() for log in log_folder().glob(f"*/*-{tag}.log")]
            ids |= {id_of(log) for log in logs if log.with_suffix(".exit").exists()}
        applications = [_application(id, [process for process in running if process.application == id]) for id in sorted(ids)]
        return [application for application in applications if application.phase == "running" or not live]

    def submit(self, submission: Submission, log: Log) -> str:
        file = log_file(submission)
        log.info("%s: Spark's whole output is in %s", submission.steps, file)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".exit").unlink(missing_ok=True)
        file.with_suffix(".lease").touch()
        lease = {"RETRAINING_LEASE": str(file.with_suffix(".lease")), "RETRAINING_LEASE_S": str(LEASE_S)}
        start(self.command(submission), environment(self.spark, **lease), file)
        # The system shows a process's command line only some milliseconds after its start: whoever looked by then would miss it.
        _await(lambda: bool(processes_of(id_of(file))) or file.with_suffix(".exit").exists(), GRACE_S)
        for job in submission.jobs[1:]:
            with contextlib.suppress(FileExistsError):
                file.with_name(f"{job.request.job}-{job.request.key}.log").symlink_to(file.name)
        return id_of(file)

    def state(self, id: str) -> Application:
        return _application(id, processes_of(id))

    def renew(self, id: str) -> None:
        log_of(id).with_suffix(".lease").touch()

    def stop(self, id: str) -> None:
        """SIGTERM first, so that Spark removes its scratch folders."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            _signal(processes_of(id), number)
            _await(lambda: not processes_of(id), GRACE_S)

    def logs(self, id: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError), log_of(id).open("rb") as file:
            file.seek(max(0, log_of(id).stat().st_size - LAST_BYTES))
            return file.read().decode(errors="replace").splitlines()[-LAST_LINES:]
        return []

    def command(self, submission: Submission) -> list[str]:
        """The provider's command line, from the connection's master and the settings; the tags are only for `find`."""
        settings = {**submission.settings, "spark.yarn.tags": ",".join(submission.tags)}
        return hook_for(self.spark, submission, settings)._build_spark_submit_command(str(RUN))


def start(command: list[str], env: dict[str, str], log: Path) -> None:
    """As a process group of its own, which outlives this process."""
    wrapped = ["/bin/sh", "-c", KEEP_EXIT, str(log.with_suffix(".exit")), *command]
    with log.open("a") as output:
        subprocess.Popen(wrapped, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)  # noqa: S603


def log_folder() -> Path:
    return Path(conf.get("logging", "base_log_folder"), "spark")


def log_file(submission: Submission) -> Path:
    return log_folder() / submission.run.model / f"{submission.first.job}-{submission.first.key}.log"


def log_of(id: str) -> Path:
    return log_folder() / f"{id}.log"


def id_of(log: Path) -> str:
    """`<model>/<job>-<key>` of the application's first job."""
    return f"{log.parent.name}/{log.stem}"


def processes_of(id: str) -> list[Process]:
    return [process for process in processes() if process.application == id]


def processes() -> Iterator[Process]:
    """Those of this host's applications: their command lines name the request of the first job."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if first := FIRST_JOB.search(command):
                yield Process(f"{first[1]}/{first[2]}", os.getpgid(int(folder.name)), command, started_at(int(folder.name)))


def started_at(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19]) / TICKS_S


def _application(id: str, living: list[Process]) -> Application:
    """Its exit file is read after its processes: the shell writes it before it ends."""
    tags = frozenset(word for process in living for word in re.split(r"[ ,=]", process.command))
    if ended := _ended(log_of(id).with_suffix(".exit")):
        _signal(living, signal.SIGKILL)  # what is left of the group after its leader
        code, seconds = ended
        return Application(id, "ended", f"exit code {code}", seconds, vcpu_hours=CORES * seconds / 3600, tags=tags)
    if not living:
        return Application(id, "ended", "it was ended from outside")
    seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - min(process.started for process in living)
    return Application(id, "running", "", seconds, vcpu_hours=CORES * seconds / 3600, tags=tags)


def _ended(exit_file: Path) -> tuple[int, float] | None:
    """Exit code and seconds; None while it runs, and where it was ended from outside."""
    try:
        code, seconds = exit_file.read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(code), float(seconds)


def _signal(living: list[Process], number: signal.Signals) -> None:
    for group in {process.group for process in living}:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)


def _await(holds: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.05)
