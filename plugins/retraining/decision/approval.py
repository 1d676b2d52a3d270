"""When a person is asked, what they are shown, and what their answer makes of a verdict. Unanswered means no."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from contract.comparison import Approval, Comparison, Interval, ReferenceComparison, Verdict
from contract.documents import RunDocument, Training
from plugins.retraining.context import TaskContext, unreleasable
from plugins.retraining.decision.evaluation_budget import Evaluation
from plugins.retraining.decision.gate import judge_guard, named
from plugins.retraining.decision.verdict_page import number_told, slice_name
from plugins.retraining.errors import Stopped

NO = "Do not release"
NOBODY = "nobody, in time,"
SHORTEST, SLACK = timedelta(minutes=1), timedelta(minutes=1)
MARKS = re.compile(r"([\\`\[\]!|<>])")  # of Markdown, in words that come from data


class ApprovalRequest(NamedTuple):
    subject: str
    body: str


def question(work: TaskContext, evaluation: Evaluation) -> ApprovalRequest | None:
    """None where the verdict stands by itself."""
    if not is_asked(work, evaluation):
        return None
    run, training = work.run, work.read("train", Training)
    subject = f"{run.model} version {training.version}: {evaluation.verdict.decision}. Release it?"
    return ApprovalRequest(subject, _body(run, training, work.read("compare", Comparison), evaluation.verdict))


def is_asked(work: TaskContext, evaluation: Evaluation) -> bool:
    """Where the spec wants it; and whoever clears `decide` after a verdict of no promotion is asked whether to override it."""
    gate, decision = work.run.spec.gate, evaluation.verdict.decision
    if unreleasable(work.run, evaluation.verdict):
        return False
    if decision == "promote":
        return gate.approval == "required"
    return evaluation.key != work.key or (decision == "inconclusive" and gate.on_inconclusive == "ask")


def yes_to(version: int) -> str:
    """Airflow keeps a question's text when its task is cleared: an option that names its version cannot be taken for another's."""
    return f"Release version {version}"


def patience(work: TaskContext, evaluation: Evaluation, since: datetime) -> timedelta:
    """Never beyond the deadline, but a minute at least; who comes back to a verdict later has the whole time."""
    run = work.run
    within = run.spec.gate.answer_within
    if evaluation.key != work.key or run.started is None:
        return within
    return max(min(within, run.spec.deadline - (since - run.started)), SHORTEST)


def answered(verdict: Verdict, version: int, given: dict[str, Any], until: datetime) -> Verdict:
    """`given` is what Airflow's operator returns. An override without a reason is none, nor is a yes after `until`.

    Raises Stopped where the question was about another version.
    """
    reason, said = str(given["params_input"].get("reason") or "").strip(), given["chosen_options"]
    if said not in ([NO], [yes_to(version)]):
        raise Stopped(f"the question shown was about another version than {version}: nothing is released, trigger a new run")
    yes = said == [yes_to(version)]
    if yes and _moment(given["responded_at"]) > until + SLACK:
        yes, reason = False, f"the yes came after {until:%Y-%m-%d %H:%M} UTC, too late"
    if yes and verdict.decision != "promote" and not reason:
        yes, reason = False, "an override needs a reason; clear `decide` to be asked again"
    user = given["responded_by_user"]
    by = (user["name"] or user["id"]) if user else NOBODY
    return verdict.model_copy(update={"approval": Approval(approved=yes, by=by, at=_moment(given["responded_at"]), reason=reason)})


def _moment(given: datetime | str) -> datetime:
    moment = datetime.fromisoformat(given) if isinstance(given, str) else given
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _body(run: RunDocument, training: Training, comparison: Comparison, verdict: Verdict) -> str:
    """Markdown: the verdict, what it rests on, and where to look."""
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
    rows = [f"Against {named(compared)}, {compared.rows:,} rows:", "", head, "|---|---|---|---|"]
    for result in compared.metrics:
        sides = " | ".join(number_told(side.value) for side in (result.challenger, result.reference))
        rows.append(f"| {result.metric} | {sides} | {_gained(result.improvement)} |")
    rows += [f"| {_plain(slice_name(each))} | | | {_gained(each.improvement)} |" for each in compared.slices]
    return [*rows, ""]


def _gained(found: Interval) -> str:
    return found.why if found.low is None else f"{found.value:+.4g} ({found.low:+.4g} to {found.high:+.4g})"


def _plain(text: str) -> str:
    return MARKS.sub(r"\\\1", " ".join(text.split()))
