"""A model's file → its DAG: the tasks, their order, and what people see of them. Nothing else."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from airflow.sdk import (
    DAG,
    CronTriggerTimetable,
    DeadlineAlert,
    DeadlineReference,
    ExceptionRetryPolicy,
    Param,
    RetryAction,
    RetryRule,
    SyncCallback,
    chain,
)

from contract.base_model import format_duration
from contract.errors import InvalidFile, OutOfMemory, RetrainingError, StoreError
from contract.keys import digest_of
from contract.platform import Platform
from contract.spark import Spark, merged
from contract.spec import ModelSpec
from plugins.retraining import alerts, ui_docs
from plugins.retraining.alerts import Audience
from plugins.retraining.catalog import ModelFiles, load_entry
from plugins.retraining.engines import engine_for as engine_of
from plugins.retraining.engines.base import Engine
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.operators import base
from plugins.retraining.operators.cluster import ClusterStep, EndClusterStep
from plugins.retraining.operators.decide import DecideStep

RETRIES = ExceptionRetryPolicy(  # bad data, a file with mistakes, a gate that said no: another try would say the same
    rules=[
        RetryRule(exception=[EngineTrouble, StoreError, OutOfMemory], action=RetryAction.RETRY),
        RetryRule(exception=RetrainingError, action=RetryAction.FAIL),
    ]
)


# Airflow 3.3 fails a look that it queued before it heard of the end of the one before, as a busy scheduler does, and counts a try
# (see ADR 9). How often a job may die is counted in spark/job_runner.py.
LOST_LOOKS = 10


def model_files(folder: Path) -> dict[str, Path]:
    """Each model's file by the id of its DAG. A file whose id another has gets one of its own: none hides another."""
    files = [path for path in folder.glob("*") if path.suffix.lower() in (".yaml", ".yml")]
    found: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: (dag_id_of(path) != path.stem, path.name)):  # right names first
        dag_id = dag_id_of(path)
        found[f"{dag_id}-{digest_of(path.name)[:6]}" if dag_id in found else dag_id] = path
    return found


def dag_for(path: Path, engine_for: Callable[[Spark], Engine] = engine_of, dag_id: str = "") -> DAG:
    """The model's DAG; if its file or the platform's cannot be used, one that says why and harms no other."""
    dag_id = dag_id or dag_id_of(path)
    try:
        _refuse_name(path, dag_id)
        model, platform = load_entry(path)
        return build_dag(model, platform, engine_for)
    except InvalidFile as error:
        return broken_dag(dag_id, path, error.problems)
    except Exception as error:  # whatever it is: one file must not take the other models' DAGs with it
        return broken_dag(dag_id, path, [f"{type(error).__name__}: {error}"])


def dag_id_of(path: Path) -> str:
    name = path.stem if path.suffix == ".yaml" else path.name
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)


def _refuse_name(path: Path, dag_id: str) -> None:
    if path.suffix != ".yaml":
        raise InvalidFile(str(path), [f"a model's file ends in .yaml: rename it to {path.stem}.yaml, or remove it"])
    if dag_id != dag_id_of(path):
        raise InvalidFile(str(path), [f"the DAG {dag_id_of(path)} is another file's: rename this one"])


def broken_dag(dag_id: str, path: Path, problems: list[str]) -> DAG:
    with DAG(
        dag_id,
        description=f"{path.name} cannot be used",
        doc_md=ui_docs.broken(path.name, problems),
        schedule=None,
        tags={"retraining", "broken-spec"},
        catchup=False,
    ) as dag:
        base.BrokenStep(task_id="broken_spec", path=path.name, problems=problems, retries=0)
    return dag


def build_dag(model: ModelFiles, platform: Platform, engine_for: Callable[[Spark], Engine]) -> DAG:
    spec = model.spec
    audience = alerts.audience_of(spec, platform)
    with DAG(
        spec.name,
        description=spec.description,
        doc_md=ui_docs.model(spec, platform),
        schedule=CronTriggerTimetable(spec.schedule, timezone="UTC") if spec.schedule else None,
        start_date=spec.start and datetime.combine(spec.start, time.min, UTC),
        end_date=spec.end and datetime.combine(spec.end, time.max, UTC),  # bounds scheduled runs only
        catchup=False,
        max_active_runs=1,
        params=params(),
        tags={"retraining", spec.task},
        deadline=deadlines(spec, audience),
        default_args={
            "owner": spec.owner,
            "retries": 2,
            "retry_delay": timedelta(seconds=15),
            "retry_policy": RETRIES,
            "on_failure_callback": partial(alerts.on_failure, audience=audience),
        },
    ) as dag:
        tasks = steps(model, platform, audience, engine_for)
        end = tasks.pop("end_cluster", None)
        chain(*tasks.values())
        if end:  # it never decides how the run ends
            tasks["compare"] >> end.as_teardown(setups=tasks["cluster"].as_setup())
    return dag


def params() -> dict[str, Param]:
    """New ones for each DAG: Airflow puts a run's values into them."""
    as_of = {"title": "As of", "description": "Train as if it were this time; absent: the run's own."}
    data = {
        "title": "Data root",
        "description": "What if the sources' relative paths were read below this folder? Absent: the platform's.",
    }
    release = {"title": "Release", "description": "Off: the run ends at its verdict."}
    return {
        "as_of": Param(None, type=["null", "string"], format="date-time", **as_of),
        "data": Param(None, type=["null", "string"], **data),
        "release": Param(True, type="boolean", **release),
    }


def deadlines(spec: ModelSpec, audience: Audience) -> list[DeadlineAlert]:
    """Counted from queued, for asset and manual runs have no other date."""
    kwargs = {"audience": audience.model_dump_json(), "allowed": format_duration(spec.deadline)}
    tiers = (("near", 0.8, alerts.deadline_near), ("broken", 1.0, alerts.deadline_broken))
    return [
        DeadlineAlert(
            name=name,
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=(share * spec.deadline).total_seconds(),  # Airflow 3.3 cannot clear a task where it is a timedelta (#70368)
            callback=SyncCallback(call, kwargs=kwargs),
        )
        for name, share, call in tiers
    ]


def steps(model: ModelFiles, platform: Platform, audience: Audience, engine_for: Callable[[Spark], Engine]) -> dict[str, Any]:
    """In their order, but for `end_cluster`, which follows `compare` beside what else does."""
    shared = {"platform": platform, "audience": audience}
    longest = model.spec.deadline + (merged(platform.spark, model.spec.spark).time_limit or model.spec.deadline)
    waits = {"mode": "reschedule", "poke_interval": base.POKE_S, "retries": LOST_LOOKS}
    spark = {**shared, **waits, "timeout": longest, "engine_for": engine_for}
    if platform.spark.engine == "local":
        spark.pop("retries")  # one look is the whole job
    wait = {**shared, **waits, "timeout": longest_wait(model.spec)}
    own = {"cluster": partial(ClusterStep, **spark), "end_cluster": partial(EndClusterStep, engine_for=engine_for, **shared)}
    tasks = {
        "freeze_run": partial(base.FreezeRunStep, model=model, **shared),
        **(own if platform.spark.has_cluster_per_run else {}),
        "validate": partial(base.ValidateStep, **spark),
        "train": partial(base.TrainStep, **spark),
        "compare": partial(base.CompareStep, **spark),
        "decide": partial(DecideStep, **shared),
        "package": partial(base.PackageStep, **shared),
        "check": partial(base.CheckStep, **wait),
        "release": partial(base.ReleaseStep, **wait),
    }
    return {
        name: make(task_id=name, task_display_name=ui_docs.STEPS[name].title, doc_md=ui_docs.STEPS[name].text)
        for name, make in tasks.items()
    }


def longest_wait(spec: ModelSpec) -> timedelta:
    """The deadline, or as long as the controller may take if that is more: a release must not go live unheard.

    It begins at the end of the previous release's probation. Then each step at its longest and once from the start again, with the
    minutes that it gives to routing, golden rows and starting.
    """
    steps, waits = len(spec.serving.canary), spec.serving.probation or timedelta(0)
    at_work = (steps + 1) * spec.serving.longest_hold + steps * timedelta(minutes=6) + timedelta(minutes=5)
    return max(spec.deadline, waits + at_work)
