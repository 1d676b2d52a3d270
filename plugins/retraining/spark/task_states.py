"""Airflow's states of the tasks of a run's Spark jobs: whether each still waits for its job, or will."""

from collections.abc import Mapping, Sequence
from typing import Any

States = Mapping[str, str | None]  # by step

# States of a task that waits, runs or will run; in any other state nothing will poke its job again.
WAITING = {None, "none", "scheduled", "queued", "running", "restarting", "up_for_retry", "up_for_reschedule", "deferred"}


def task_states(ti: Any, model: str, run: str, steps: Sequence[str]) -> States:
    """ "removed" for a task that Airflow does not know."""
    states: dict[str, dict[str, str | None]] = ti.get_task_states(dag_id=model, task_ids=list(steps), run_ids=[run])
    return {step: states.get(run, {}).get(step, "removed") for step in steps}
