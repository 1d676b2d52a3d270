"""The platform's own DAGs: people are told what no run waits for, the world is compared with the ledger, what is old goes."""

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

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
from plugins.retraining.maintenance.consistency import LedgerDiffers, differences, lasting, new, note
from plugins.retraining.maintenance.notifications import send_notifications
from plugins.retraining.maintenance.retention import remove_expired
from release.ledger.entries import Entry
from release.ledger.ledger import Ledger, LedgerBroken


class NotifyStep(BaseOperator):
    """Sends each model's people what its ledger has for them."""

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
            except LedgerBroken as error:  # the task beside this one makes it known
                self.log.warning("%s", error)

    def send(self, model: str, link: str, entry: Entry) -> None:
        alerts.send(self.audience_of(model), alerts.notification(model, entry.notification, entry.time, link))

    def audience_of(self, model: str) -> Audience:
        """The platform's, where the model's file is gone or broken."""
        try:
            return alerts.audience_of(load_model(self.models / f"{model}.yaml").spec, self.platform)
        except InvalidFile:
            return alerts.platform_audience(self.platform)


class CheckConsistencyStep(BaseOperator):
    """Fails while something differs for longer than a moment; says it once a day."""

    def __init__(self, *, platform: Platform, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.platform = platform

    def execute(self, context: Context) -> None:
        store, now = store_at(self.platform.store), datetime.now(UTC)
        found = lasting(lambda: differences(self.platform, store))
        if not found:
            return
        untold = new(store, found, now)
        if untold:
            places, sentences = [each.place for each in untold], [each.sentence for each in untold]
            message = alerts.differ(places, sentences, context["ti"].log_url)
            alerts.send(alerts.platform_audience(self.platform), message)
            note(store, untold, now)
        raise LedgerDiffers("; ".join(each.sentence for each in found))


class SweepStep(BaseOperator):
    """Stops the cluster's jobs that nobody waits for any more."""

    def __init__(self, *, platform: Platform, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.platform = platform

    def execute(self, context: Context) -> list[str]:
        from plugins.retraining.spark.orphans import stop_orphans

        engine, state_of = engine_for(self.platform.spark), partial(_state_of, context["ti"])
        try:
            stopped = stop_orphans(store_at(self.platform.store), engine, state_of)
        except EngineAway as error:  # the next minute's look is soon enough
            self.log.warning("%s", error)
            return []
        for each in stopped:
            self.log.warning("stopped %s: %s", each.application.id, each.why)
        return [each.application.id for each in stopped]


def _state_of(ti: Any, model: str, run: str, step: str) -> str | None:
    states = ti.get_task_states(dag_id=model, task_ids=[step], run_ids=[run])
    return states.get(run, {}).get(step, "removed")


class RetentionStep(BaseOperator):
    def __init__(self, *, platform: Platform, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.platform = platform

    def execute(self, context: Context) -> dict[str, int]:
        store, dry_run = store_at(self.platform.store), context["params"]["dry_run"]
        return remove_expired(store, self.platform.retention, datetime.now(UTC), dry_run, self.log)


def reconcile_dag(platform: Platform, models: Path) -> DAG:
    what = "Tells people what no run waits for, and compares the world with the ledger"
    with _dag("reconcile", what, "* * * * *") as dag:
        limits = {"execution_timeout": timedelta(minutes=5)}
        NotifyStep(task_id="tell", platform=platform, models=models, **limits)
        CheckConsistencyStep(task_id="compare", platform=platform, **limits)
        if platform.spark.engine != "local":  # there a job ends with its task
            SweepStep(task_id="sweep", platform=platform, **limits)
    return dag


def retention_dag(platform: Platform) -> DAG:
    what = "Removes snapshots and runs that are older than the platform keeps them"
    dry_run = Param(False, type="boolean", title="Dry run", description="The log says what would go, and nothing goes.")
    with _dag("retention", what, "30 3 * * *", params={"dry_run": dry_run}) as dag:
        RetentionStep(task_id="remove", platform=platform, on_failure_callback=partial(tell_not_removed, platform))
    return dag


def tell_not_removed(platform: Platform, context: Context) -> None:
    why = str(context.get("exception") or "The task ended without an error of its own.")
    alerts.send(alerts.platform_audience(platform), alerts.not_removed(why, context["ti"].log_url))


def _dag(name: str, what: str, schedule: str, **kwargs: Any) -> DAG:
    """At work as soon as it is there: one that waits to be switched on protects nobody. A first day would be due at once."""
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
