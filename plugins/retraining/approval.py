"""When a person is asked, what they are shown, and what their answer makes of a verdict. Unanswered means no."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from contract.comparison import Answer, Comparison, Contest, Verdict
from contract.documents import RunDocument, Training
from plugins.retraining.looks import Look
from plugins.retraining.steps import Work, unreleasable

YES, NO = "Release", "Do not release"
NOBODY = "nobody, in time,"
SHORTEST = timedelta(minutes=1)


class Question(NamedTuple):
    subject: str
    body: str


def question(work: Work, look: Look) -> Question | None:
    """None where the verdict stands by itself."""
    if not is_asked(work, look):
        return None
    run, training = work.run, work.read("train", Training)
    subject = f"{run.model} version {training.version}: {look.verdict.decision}. Release it?"
    return Question(subject, _body(run, training, work.read("compare", Comparison), look.verdict))


def is_asked(work: Work, look: Look) -> bool:
    """Where the spec wants it; and whoever clears `decide` after a verdict of no promotion is asked whether to override it."""
    gate, decision = work.run.spec.gate, look.verdict.decision
    if unreleasable(work.run, look.verdict):
        return False
    if decision == "promote":
        return gate.approval == "required"
    return look.key != work.key or (decision == "inconclusive" and gate.on_inconclusive == "ask")


def patience(run: RunDocument, now: datetime) -> timedelta:
    """Never beyond the deadline, but a minute at least."""
    began = run.started or now
    left = run.spec.deadline - (now - began)
    return max(min(run.spec.gate.answer_within, left), SHORTEST)


def answered(verdict: Verdict, given: dict[str, Any]) -> Verdict:
    """`given` is what Airflow's operator returns. An override without a reason is none."""
    reason = str(given["params_input"].get("reason") or "").strip()
    yes = given["chosen_options"] == [YES]
    if yes and verdict.decision != "promote" and not reason:
        yes, reason = False, "an override needs a reason; clear `decide` to be asked again"
    user = given["responded_by_user"]
    by = (user["name"] or user["id"]) if user else NOBODY
    return verdict.model_copy(update={"answer": Answer(approved=yes, by=by, at=_moment(given["responded_at"]), reason=reason)})


def _moment(given: datetime | str) -> datetime:
    moment = datetime.fromisoformat(given) if isinstance(given, str) else given
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _body(run: RunDocument, training: Training, comparison: Comparison, verdict: Verdict) -> str:
    """Markdown: the verdict, what it rests on, and where to look."""
    lines = [f"**{verdict.decision}**: {verdict.reason}", ""]
    for contest in comparison.contests:
        lines += _table(contest)
    lines += [f"- [MLflow run of version {training.version}]({training.mlflow_url})"]
    if run.champion:
        versions = f"{run.platform.mlflow}/#/models/{run.model}/versions"
        lines += [f"- [live: version {run.champion.version}]({versions}/{run.champion.version})"]
    return "\n".join([*lines, f"- [this run]({run.url})" if run.url else ""]).rstrip()


def _table(contest: Contest) -> list[str]:
    if contest.incomparable:
        return []
    name = "the trivial baseline" if contest.version is None else f"{contest.opponent} version {contest.version}"
    rows = [f"Against {name}, {contest.rows:,} rows:", "", "| | challenger | then | improvement |", "|---|---|---|---|"]
    for result in contest.metrics:
        gained = result.improvement
        told = gained.why if gained.low is None else f"{gained.value:+.4g} ({gained.low:+.4g} to {gained.high:+.4g})"
        rows.append(f"| {result.metric} | {_number(result.challenger.value)} | {_number(result.against.value)} | {told} |")
    for each in contest.slices:
        low, high = each.improvement.low, each.improvement.high
        told = each.improvement.why if low is None else f"{each.improvement.value:+.4g} ({low:+.4g} to {high:+.4g})"
        rows.append(f"| {each.column} {each.value or 'others'} | | | {told} |")
    return [*rows, ""]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
