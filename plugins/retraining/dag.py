"""Builds a model's DAG from its file: the tasks, their order, and their texts in the UI."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from airflow.sdk import (  # type: ignore[attr-defined]  # its stub lacks DeadlineAlert, DeadlineReference, SyncCallback
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
from contract.errors import InvalidFile, RetrainingError, TransientError
from contract.keys import digest_of
from contract.platform import Platform
from contract.spark import Spark, merged
from contract.spec import ModelSpec
from plugins.retraining import alerts, ui_docs
from plugins.retraining.alerts import Audience
from plugins.retraining.catalog import ModelFiles, load_model_and_platform
from plugins.retraining.engines import engine_for as engine_of
from plugins.retraining.engines.base import Engine
from plugins.retraining.operators import base
from plugins.retraining.operators.cluster import ClusterStep, EndClusterStep
from plugins.retraining.operators.decide import DecideStep

RETRIES = ExceptionRetryPolicy(  # bad data, an invalid file or a gate's «no» would give the same result again
    rules=[
        RetryRule(exception=TransientError, action=RetryAction.RETRY),
        RetryRule(exception=RetrainingError, action=RetryAction.FAIL),
    ]
)


# Airflow 3.3 fails a poke that a busy scheduler queued before it noticed the end of the previous one, and counts it as a try
# (see ADR 9). The limit of a job's failures is in spark/job_runner.py.
LOST_POKES = 10

Make = Callable[..., base.Step]


def model_files(folder: Path) -> dict[str, Path]:
    """Each model's file by DAG id. On a collision the later file gets a suffixed id, so that no file hides another."""
    files = [path for path in folder.glob("*") if path.suffix.lower() in (".yaml", ".yml")]
    by_id: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: (dag_id_of(path) != path.stem, path.name)):  # files whose name is the id go first
        dag_id = dag_id_of(path)
        by_id[f"{dag_id}-{digest_of(path.name)[:6]}" if dag_id in by_id else dag_id] = path
    return by_id


def dag_for(path: Path, engine_for: Callable[[Spark], Engine] = engine_of, dag_id: str = "") -> DAG:
    """The model's DAG; for an invalid model or platform file, a DAG that fails with the problems."""
    dag_id = dag_id or dag_id_of(path)
    try:
        _refuse_name(path, dag_id)
        model, platform = load_model_and_platform(path)
        return build_dag(model, platform, engine_for)
    except InvalidFile as error:
        return broken_dag(dag_id, path, error.problems)
    except Exception as error:  # any error: one file must not break the other models' DAGs
        return broken_dag(dag_id, path, [f"{type(error).__name__}: {error}"])


def dag_id_of(path: Path) -> str:
    name = path.stem if path.suffix == ".yaml" else path.name
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)


def _refuse_name(path: Path, dag_id: str) -> None:
    if path.suffix != ".yaml":
        raise InvalidFile(str(path), [f"a model's file must end in .yaml: rename it to {path.stem}.yaml, or remove it"])
    if dag_id != dag_id_of(path):
        raise InvalidFile(str(path), [f"another file has the DAG id {dag_id_of(path)}: rename this one"])


def broken_dag(dag_id: str, path: Path, problems: list[str]) -> DAG:
    with DAG(
        dag_id,
        description=f"{path.name} is invalid",
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
        start_date=datetime.combine(spec.start, time.min, UTC) if spec.start else None,
        end_date=datetime.combine(spec.end, time.max, UTC) if spec.end else None,  # bounds scheduled runs only
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
        if end:  # a teardown does not affect the run's state
            tasks["compare"] >> end.as_teardown(setups=tasks["cluster"])
    return dag


def params() -> dict[str, Param]:
    """New objects for each DAG, because Airflow writes a run's values into them."""
    as_of = "Train as if it were this time; absent: the run's own time."
    data = "Folder that the sources' relative paths are read from; absent: the platform's."
    release = "Off: the run ends at its verdict."
    return {
        "as_of": Param(None, type=["null", "string"], format="date-time", title="As of", description=as_of),
        "data": Param(None, type=["null", "string"], title="Data root", description=data),
        "release": Param(True, type="boolean", title="Release", description=release),
    }


def deadlines(spec: ModelSpec, audience: Audience) -> list[DeadlineAlert]:
    """Counted from the time of queueing, the only date that asset-triggered and manual runs have."""
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


def steps(model: ModelFiles, platform: Platform, audience: Audience, engine_for: Callable[[Spark], Engine]) -> dict[str, base.Step]:
    """In execution order, except `end_cluster`, which runs after `compare` in parallel with the rest."""
    shared: dict[str, Any] = {"platform": platform, "audience": audience}
    longest = model.spec.deadline + (merged(platform.spark, model.spec.spark).time_limit or model.spec.deadline)
    spark: dict[str, Any] = {**shared, "retries": LOST_POKES, "timeout": longest, "engine_for": engine_for}
    wait = {**shared, "retries": LOST_POKES, "timeout": longest_wait(model.spec)}
    own: dict[str, Make] = {
        "cluster": partial(ClusterStep, **spark),
        # Its failure is not sent: the cluster's idle timeout ends the cluster, and the run goes on.
        "end_cluster": partial(EndClusterStep, engine_for=engine_for, on_failure_callback=None, **shared),
    }
    tasks: dict[str, Make] = {
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
    """Sensor timeout: the deadline, or the controller's longest release if that is more, so that no release goes live unnoticed.

    Longest release: the previous release's probation, each canary step at its longest and one restart from the first step, plus the
    minutes allowed for routing, golden rows and start-up.
    """
    steps, waits = len(spec.serving.canary), spec.serving.probation or timedelta(0)
    at_work = (steps + 1) * spec.serving.longest_hold + steps * timedelta(minutes=6) + timedelta(minutes=5)
    return max(spec.deadline, waits + at_work)
