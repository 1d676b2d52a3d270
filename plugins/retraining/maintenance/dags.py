"""The platform's own DAGs: the controller's notifications, the comparison with the ledger, orphaned jobs, and retention."""

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from airflow.sdk import DAG, BaseOperator, Context, CronTriggerTimetable, Param

from contract.errors import InvalidFile
from contract.platform import Platform
from contract.store.factory import store_at
from plugins.retraining import alerts
from plugins.retraining.alerts import Audience
from plugins.retraining.catalog import load_model
from plugins.retraining.dag import RETRIES
from plugins.retraining.engines import engine_for
from plugins.retraining.engines.base import EngineAway
from plugins.retraining.maintenance.consistency import (
    RECHECK_DELAY_S,
    LedgerDiffers,
    confirmed,
    differences,
    mark_reported,
    unreported,
)
from plugins.retraining.maintenance.notifications import send_notifications
from plugins.retraining.maintenance.retention import remove_expired
from plugins.retraining.spark.task_states import task_states
from release.ledger.entries import Entry
from release.ledger.ledger import Ledger, LedgerBroken


class NotifyStep(BaseOperator):
    """Sends each model's notifications from its ledger to its recipients."""

    def __init__(self, *, platform: Platform, models: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.platform = platform
        self.models = models

    def execute(self, context: Context) -> None:
        store, now, link = store_at(self.platform.store), datetime.now(UTC), context["ti"].log_url
        ledger = Ledger(store)
        for model in ledger.models():
            try:
                send_notifications(store, ledger, model, now, partial(self.send, model, link))
            except LedgerBroken as error:  # reported by CheckConsistencyStep
                self.log.warning("%s", error)

    def send(self, model: str, link: str, entry: Entry) -> None:
        alerts.send(self.audience_of(model), alerts.notification(model, entry.notification, entry.time, link))

    def audience_of(self, model: str) -> Audience:
        """The platform's audience if the model's file is missing or invalid."""
        try:
            return alerts.audience_of(load_model(self.models / f"{model}.yaml").spec, self.platform)
        except InvalidFile:
            return alerts.platform_audience(self.platform)


class CheckConsistencyStep(BaseOperator):
    """Fails while a difference persists; sends each difference once a day."""

    recheck_delay_s: ClassVar[float] = RECHECK_DELAY_S

    def __init__(self, *, platform: Platform, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.platform = platform

    def execute(self, context: Context) -> None:
        store, now = store_at(self.platform.store), datetime.now(UTC)
        persistent = confirmed(lambda: differences(self.platform, store), self.recheck_delay_s)
        if not persistent:
            return
        unsent = unreported(store, persistent, now)
        if unsent:
            components, sentences = [difference.component for difference in unsent], [difference.sentence for difference in unsent]
            message = alerts.ledger_differs(components, sentences, context["ti"].log_url)
            alerts.send(alerts.platform_audience(self.platform), message)
            mark_reported(store, unsent, now)
        raise LedgerDiffers("; ".join(difference.sentence for difference in persistent))


class StopOrphansStep(BaseOperator):
    """Stops the cluster's orphaned applications."""

    def __init__(self, *, platform: Platform, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.platform = platform

    def execute(self, context: Context) -> list[str]:
        from plugins.retraining.spark.orphans import stop_orphans

        engine, state_of = engine_for(self.platform.spark), partial(_state_of, context["ti"])
        try:
            stopped = stop_orphans(store_at(self.platform.store), engine, state_of)
        except EngineAway as error:  # the next run, a minute later, tries again
            self.log.warning("%s", error)
            return []
        for orphan in stopped:
            self.log.warning("stopped %s: %s", orphan.application.id, orphan.why)
        return [orphan.application.id for orphan in stopped]


def _state_of(ti: Any, model: str, run: str, step: str) -> str | None:
    return task_states(ti, model, run, [step])[step]


class RetentionStep(BaseOperator):
    def __init__(self, *, platform: Platform, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.platform = platform

    def execute(self, context: Context) -> dict[str, int]:
        store, dry_run = store_at(self.platform.store), context["params"]["dry_run"]
        return remove_expired(store, self.platform.retention, datetime.now(UTC), dry_run, self.log)


def reconcile_dag(platform: Platform, models: Path) -> DAG:
    what = (
        "Sends the controller's notifications, compares MLflow, images and router with the ledger, "
        "and stops Spark jobs that no task waits for"
    )
    with _dag("reconcile", what, "* * * * *") as dag:
        limits = {"execution_timeout": timedelta(minutes=5)}
        NotifyStep(task_id="notify", platform=platform, models=models, **limits)
        CheckConsistencyStep(task_id="compare_with_ledger", platform=platform, **limits)
        if platform.spark.engine != "local":  # a local application ends when no task waits for it
            StopOrphansStep(task_id="stop_orphans", platform=platform, **limits)
    return dag


def retention_dag(platform: Platform) -> DAG:
    what = "Removes snapshots and runs that are older than the platform's retention"
    dry_run = Param(False, type="boolean", title="Dry run", description="The log lists what would be removed; nothing is removed.")
    with _dag("retention", what, "30 3 * * *", params={"dry_run": dry_run}) as dag:
        RetentionStep(task_id="remove", platform=platform, on_failure_callback=partial(notify_retention_incomplete, platform))
    return dag


def notify_retention_incomplete(platform: Platform, context: Context) -> None:
    why = str(context.get("exception") or "The task ended without an error.")
    alerts.send(alerts.platform_audience(platform), alerts.retention_incomplete(why, context["ti"].log_url))


def _dag(name: str, what: str, schedule: str, **kwargs: Any) -> DAG:
    """Not paused on creation, because these DAGs protect production. Without catchup, no past interval is run."""
    return DAG(
        f"retraining_{name}",
        description=what,
        doc_md=f"{what}.",
        schedule=CronTriggerTimetable(schedule, timezone="UTC"),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        default_args={"retries": 2, "retry_delay": timedelta(seconds=10), "retry_policy": RETRIES},
        tags={"retraining", "platform"},
        **kwargs,
    )
