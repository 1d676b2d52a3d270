"""Follows one DAG run, a line per task, and returns its states and seconds."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from demo.airflow_api import ENDED, Airflow, TaskState
from demo.live import Live
from demo.paths import ROOT
from demo.platforms import cluster
from demo.stage import ConsoleLine, show, show_running

STEPS = ("freeze_run", "validate", "train", "compare", "decide", "package", "check", "release")
RUN_TIMEOUT_S = 1800
SILENT_S = 60


@dataclass(frozen=True)
class Ended:
    """A DAG run that is over; `seconds` by task, `states` by task."""

    run: str
    state: str
    seconds: dict[str, float]
    states: dict[str, str | None]


def follow(airflow: Airflow, live: Live, dag: str, run: str, on_start: Callable[[str], object] = lambda _: None) -> Ended:
    """Returns when the run has ended; a step that waits for long is shown with its last line of log.

    `on_start` is called with each step that has begun.
    """
    lines: dict[str, ConsoleLine] = {}
    until = time.monotonic() + RUN_TIMEOUT_S
    while time.monotonic() < until:
        state = airflow.run_state(dag, run)
        tasks = {task.task: task for task in airflow.tasks(dag, run)}
        for step in STEPS:
            if step in tasks and _show_step(tasks[step], lines, live):
                on_start(step)
        if state in ENDED:
            seconds = {name: line.elapsed() for name, line in lines.items()}
            return Ended(run, state, seconds, {name: task.state for name, task in tasks.items()})
        time.sleep(0.5)
    raise TimeoutError(f"{dag} {run} did not end within {RUN_TIMEOUT_S} s: open it in the Airflow UI")


def _show_step(task: TaskState, lines: dict[str, ConsoleLine], live: Live) -> bool:
    """Whether the step has begun just now. Its seconds run from its start to its end, its waiting included."""
    if task.state in (None, "scheduled", "queued", "removed", "upstream_failed", "skipped") and task.task not in lines:
        return False
    begins = task.task not in lines
    line = lines.setdefault(task.task, ConsoleLine(task.task, indent=4))
    if line.seconds is not None:
        return begins
    if task.state in ("success", "failed"):
        line.detail = "stopped here" if task.state == "failed" else ""
        line.end(task.seconds if begins else None)  # it had ended before the first poll
        show(line)
    else:
        line.detail = _progress(live) if task.task in ("validate", "train", "compare") else ""
        show_running(line)
    return begins


def _progress(live: Live) -> str:
    if live.platform.spark.engine != "local":
        return f"on the cluster, see {cluster.HADOOP.rm_url}/cluster"
    log = live.newest_job_log()
    if log is None:
        return ""
    silent_s = time.time() - log.stat().st_mtime
    if silent_s > SILENT_S:
        return f"silent for {silent_s:.0f} s, see {log.relative_to(ROOT)}"
    said = [
        text for text in log.read_text(errors="replace").splitlines()[-30:] if text.startswith(("validate:", "train:", "compare:"))
    ]
    return said[-1] if said else ""
