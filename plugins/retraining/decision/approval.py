"""When an approval is requested, what the person is shown, and how the answer changes a verdict. No answer means no."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from contract.comparison import Approval, Comparison, Interval, ReferenceComparison, Verdict
from contract.documents import RunDocument, Training
from plugins.retraining.context import TaskContext, unreleasable
from plugins.retraining.decision.evaluation_budget import Evaluation
from plugins.retraining.decision.gate import judge_guard, reference_text
from plugins.retraining.decision.verdict_page import number_text, slice_name
from plugins.retraining.errors import Stopped

NO = "Do not release"
NOBODY = "Airflow (nobody answered in time)"
SHORTEST, CLOCK_TOLERANCE = timedelta(minutes=1), timedelta(minutes=1)
MARKS = re.compile(r"([\\`\[\]!|<>])")  # Markdown's special characters, escaped in text that comes from data


class ApprovalRequest(NamedTuple):
    subject: str
    body: str


def approval_request(task: TaskContext, evaluation: Evaluation) -> ApprovalRequest | None:
    """None where no approval is needed."""
    if not is_approval_needed(task, evaluation):
        return None
    run, training = task.run, task.read("train", Training)
    subject = f"{run.model} version {training.version}: {evaluation.verdict.decision}. Release it?"
    return ApprovalRequest(subject, _body(run, training, task.read("compare", Comparison), evaluation.verdict))


def is_approval_needed(task: TaskContext, evaluation: Evaluation) -> bool:
    """Where the spec requires it, or where `decide` was cleared after a verdict other than promote, to override it."""
    gate, decision = task.run.spec.gate, evaluation.verdict.decision
    if unreleasable(task.run, evaluation.verdict):
        return False
    if decision == "promote":
        return gate.approval == "required"
    return evaluation.key != task.key or (decision == "inconclusive" and gate.on_inconclusive == "ask")


def yes_to(version: int) -> str:
    """Names the version, as Airflow keeps the request's text when its task is cleared: a yes must not count for another one."""
    return f"Release version {version}"


def patience(task: TaskContext, evaluation: Evaluation, since: datetime) -> timedelta:
    """Time to answer: ends with the deadline, but a minute at least; the whole `answer_within` for an override."""
    run = task.run
    within = run.spec.gate.answer_within
    if evaluation.key != task.key or run.started is None:
        return within
    return max(min(within, run.spec.deadline - (since - run.started)), SHORTEST)


def with_answer(verdict: Verdict, version: int, given: dict[str, Any], until: datetime) -> Verdict:
    """`given`: what Airflow's operator returns. An override without a reason, or a yes after `until`, counts as no.

    Raises Stopped where the request was about another version.
    """
    reason, chosen = str(given["params_input"].get("reason") or "").strip(), given["chosen_options"]
    if chosen not in ([NO], [yes_to(version)]):
        raise Stopped(f"the approval request was about another version than {version}: nothing is released; trigger a new run")
    yes = chosen == [yes_to(version)]
    if yes and _moment(given["responded_at"]) > until + CLOCK_TOLERANCE:
        yes, reason = False, f"the yes came after {until:%Y-%m-%d %H:%M} UTC, too late"
    if yes and verdict.decision != "promote" and not reason:
        yes, reason = False, "an override needs a reason; clear `decide` to answer again"
    user = given["responded_by_user"]
    by = (user["name"] or user["id"]) if user else NOBODY
    return verdict.model_copy(update={"approval": Approval(approved=yes, by=by, at=_moment(given["responded_at"]), reason=reason)})


def _moment(given: datetime | str) -> datetime:
    moment = datetime.fromisoformat(given) if isinstance(given, str) else given
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _body(run: RunDocument, training: Training, comparison: Comparison, verdict: Verdict) -> str:
    """Markdown: the verdict, its numbers, and links."""
    lines = [f"**{verdict.decision}**: {_plain(verdict.reason)}", ""]
    for compared in comparison.comparisons:
        lines += _table(compared)
    if not comparison.comparisons[0].incomparable:
        lines += [f"- {_plain(judge_guard(guard, comparison).sentence)}" for guard in run.spec.gate.guards]
    lines += [f"- [MLflow run of version {training.version}]({training.mlflow_url})"]
    if run.champion:
        versions = f"{run.platform.mlflow}/#/models/{run.model}/versions"
        lines += [f"- [live: version {run.champion.version}]({versions}/{run.champion.version})"]
    return "\n".join([*lines, f"- [this run]({run.url})" if run.url else ""]).rstrip()


def _table(compared: ReferenceComparison) -> list[str]:
    if compared.incomparable:
        return []
    head = f"| | challenger | {compared.reference} | improvement |"
    rows = [f"Against {reference_text(compared)}, {compared.rows:,} rows:", "", head, "|---|---|---|---|"]
    for result in compared.metrics:
        sides = " | ".join(number_text(side.value) for side in (result.challenger, result.reference))
        rows.append(f"| {result.metric} | {sides} | {_improvement_text(result.improvement)} |")
    rows += [f"| {_plain(slice_name(result))} | | | {_improvement_text(result.improvement)} |" for result in compared.slices]
    return [*rows, ""]


def _improvement_text(interval: Interval) -> str:
    return interval.why if interval.low is None else f"{interval.value:+.4g} ({interval.low:+.4g} to {interval.high:+.4g})"


def _plain(text: str) -> str:
    return MARKS.sub(r"\\\1", " ".join(text.split()))
