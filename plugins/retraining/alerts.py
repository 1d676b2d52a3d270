"""Slack and mail messages to people. One that cannot be sent is logged and never fails a run."""

import html
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

from airflow.sdk import conf
from airflow.sdk.exceptions import AirflowSensorTimeout

from contract.base_model import Strict
from contract.comparison import Approval, Verdict
from contract.documents import ReplayResult
from contract.errors import RetrainingError
from contract.platform import Platform
from contract.spec import ModelSpec
from plugins.retraining.errors import RolledBack, Stopped

log = logging.getLogger(__name__)

ADVICE = {
    "freeze_run": "Correct the named setting, then clear this task.",
    "cluster": "Read the task's log; clear this task when the cause is gone.",
    "validate": "Fix the data, then clear this task; or change the source's checks in the spec or its suite.",
    "train": "Read the task's log; clear this task when the cause is gone.",
    "compare": "Read the task's log; clear this task when the cause is gone.",
    "decide": "Nothing, if the reason is right. To release it anyway, clear `decide` and answer with a reason.",
    "package": "Clear this task when the cause is gone; nothing was released.",
    "check": "Read the reason and the model's server logs; clear `package` to build the image again.",
    "release": "Read the reason, then trigger a new run; or `unquarantine` the version and clear `check` to try it again.",
}
UNTOUCHED = "Nothing was changed: the previous version keeps serving."
UNKNOWN = "The outcome is unknown: the controller may still finish it. See what is live, then clear this task to get the outcome."


class Audience(Strict):
    """Recipients of a model's messages and the Airflow connections used; built from its spec and platform."""

    model: str
    slack: str | None
    smtp: str | None
    sender: str
    email: tuple[str, ...]


class Message(NamedTuple):
    subject: str
    text: str


def audience_of(spec: ModelSpec, platform: Platform) -> Audience:
    by_mail = bool(spec.alerts.email)
    return Audience(
        model=spec.name,
        slack=platform.alerts.slack if spec.alerts.slack else None,
        smtp=platform.alerts.smtp if by_mail else None,
        sender=platform.alerts.sender,
        email=spec.alerts.email,
    )


def platform_audience(platform: Platform) -> Audience:
    """For messages about no model, or about one whose spec is gone: Slack only, since the platform's file has no mail addresses."""
    alerts = platform.alerts
    return Audience(model=platform.name, slack=alerts.slack, smtp=None, sender=alerts.sender, email=())


def stopped(model: str, step: str, why: str, link: str) -> Message:
    return Message(f"{model}: stopped at {step}", f"{why}\n{UNTOUCHED}\nWhat to do: {ADVICE[step]}\n{link}")


def approval_needed(model: str, why: str, patience: timedelta, link: str) -> Message:
    return Message(f"{model}: approval needed", f"{why}\nUnanswered within {_in_minutes(patience)}, it is not released.\n{link}")


def overridden(model: str, verdict: Verdict, approval: Approval, link: str) -> Message:
    return Message(
        f"{model}: approved against its verdict",
        f"{approval.by} overrode «{verdict.decision}»: {approval.reason}\nThe verdict was: {verdict.reason}\n"
        f"Its image is checked and released now.\n{link}",
    )


def _in_minutes(duration: timedelta) -> str:
    return f"{max(round(duration.total_seconds() / 60), 1)} minutes"


def outcome_unknown(model: str, step: str, why: str, link: str) -> Message:
    """The task failed; the release that it requested may still succeed."""
    return Message(f"{model}: outcome of {step} unknown", f"{why}\n{UNKNOWN}\n{link}")


def promoted(model: str, version: int, reason: str, link: str) -> Message:
    return Message(f"{model}: version {version} is live", f"{reason}\nEndpoint: {link}")


def replayed(model: str, version: int, by: str, replay: ReplayResult, link: str) -> Message:
    """To those who approved: the replay result, which was not known at approval."""
    sentence = f"{by} approved it; {_replay_sentence(replay)}"
    advice = "If this is not what you expected, trigger `retraining_rollback`, which ends the release."
    return Message(f"{model}: version {version} answered recent requests", f"{sentence}\n{advice}\n{link}")


def _replay_sentence(replay: ReplayResult) -> str:
    if replay.problem:
        return f"nothing could be replayed: {replay.problem}."
    clauses = [
        f"of {replay.requests:,} requests ({replay.rows:,} rows) that the live version answers, it refuses {replay.refused:,}"
    ]
    if replay.changed_share is not None:
        clauses.append(f"{100 * replay.changed_share:.1f} % of the rows get a different prediction")
    if replay.changed_share and replay.mean_difference is not None and replay.largest_difference is not None:
        clauses.append(f"by {replay.mean_difference:.4g} on average and {replay.largest_difference:.4g} at most")
    if replay.p95_ms is not None and replay.p95_ms_live is not None:
        clauses.append(f"its 95th percentile is {replay.p95_ms:.1f} ms, the live version's {replay.p95_ms_live:.1f} ms")
    return f"{', '.join(clauses)}."


def notification(model: str, text: str, when: datetime, link: str) -> Message:
    """From the controller, about an event that no task waits for."""
    return Message(f"{model}: {text.partition(':')[0]}", f"{text}\nAt {when:%Y-%m-%d %H:%M:%S} UTC.\n{link}")


def ledger_differs(components: Sequence[str], sentences: Sequence[str], link: str) -> Message:
    what = "\n".join(sentences)
    where = " and ".join(dict.fromkeys(components))
    return Message(
        f"ledger and {where} differ",
        f"{what}\nWhat to do: run `python -m release reconcile` on the serving host for details.\n{link}",
    )


def retention_incomplete(why: str, link: str) -> Message:
    return Message("retention: removal incomplete", f"{why}\nWhat to do: fix the named cause; removal is retried tomorrow.\n{link}")


def rolled_back(model: str, why: str, link: str) -> Message:
    return Message(
        f"{model}: rolled back",
        f"{why}\nAll traffic is back on the previous version.\nWhat to do: {ADVICE['release']}\n{link}",
    )


def deadline_approaching(model: str, run: str, allowed: str, link: str) -> Message:
    return Message(
        f"{model}: deadline near",
        f"Run {run} has used 80 % of its {allowed} and is not finished.\n"
        f"What to do: read the running task's log; the run continues.\n{link}",
    )


def deadline_missed(model: str, run: str, allowed: str, link: str) -> Message:
    return Message(
        f"{model}: deadline missed",
        f"Run {run} is not finished after its {allowed}; it continues.\nWhat to do: read the running task's log.\n{link}",
    )


def on_failure(context: dict[str, Any], audience: Audience) -> None:
    """Callback for a task that failed with no try left."""
    task, error = context["ti"], context.get("exception")
    why = _sentence(error, task.task_id)
    if isinstance(error, RolledBack):
        send(audience, rolled_back(audience.model, why, task.log_url))
    elif task.task_id == "release" and not isinstance(error, Stopped):
        send(audience, outcome_unknown(audience.model, task.task_id, why, task.log_url))
    else:
        send(audience, stopped(audience.model, task.task_id, why, task.log_url))


def deadline_near(context: dict[str, Any], audience: str, allowed: str) -> None:
    _on_deadline(context, audience, allowed, deadline_approaching)


def deadline_broken(context: dict[str, Any], audience: str, allowed: str) -> None:
    _on_deadline(context, audience, allowed, deadline_missed)


def _on_deadline(context: dict[str, Any], audience: str, allowed: str, template: Callable[..., Message]) -> None:
    """`context` holds the run as the REST API gives it. Finished runs are ignored: Airflow checks deadlines of failed runs too."""
    run = context["dag_run"]
    if run["state"] in ("success", "failed"):
        return
    to = Audience.model_validate_json(audience)
    send(to, template(to.model, run["dag_run_id"], allowed, run_url(run["dag_id"], run["dag_run_id"])))


def run_url(dag_id: str, run_id: str) -> str:
    base = conf.get("api", "base_url", fallback="http://localhost:8080").rstrip("/")
    return f"{base}/dags/{dag_id}/runs/{quote(run_id)}"


def send(audience: Audience, message: Message) -> None:
    log.info("%s\n%s", *message)
    if audience.slack:
        _try("Slack", audience.slack, partial(_slack, audience.slack, message))
    if audience.smtp:
        _try("mail", audience.smtp, partial(_mail, audience.smtp, audience, message))


def _try(kind: str, connection: str, deliver: Callable[[], None]) -> None:
    """Logs only the error's type: its text may contain the webhook's token."""
    try:
        deliver()
    except Exception as error:
        log.warning("no %s sent: %s; check the Airflow connection %s", kind, type(error).__name__, connection)


def _slack(connection: str, message: Message) -> None:
    from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook

    SlackWebhookHook(slack_webhook_conn_id=connection).send(text=f"*{message.subject}*\n{message.text}")


def _mail(connection: str, audience: Audience, message: Message) -> None:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    body = f"<pre>{html.escape(message.text)}</pre>"
    with SmtpHook(smtp_conn_id=connection) as hook:
        hook.send_email_smtp(to=list(audience.email), subject=message.subject, html_content=body, from_email=audience.sender)


def _sentence(error: BaseException | str | None, step: str) -> str:
    if isinstance(error, RetrainingError):
        return str(error)
    if isinstance(error, AirflowSensorTimeout):
        return f"The release controller gave no outcome for {step} in time; check that it is running."
    if error is None:
        return "The task ended without an error (it was killed, or its worker was lost)."
    return f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error
