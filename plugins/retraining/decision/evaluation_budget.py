"""One evaluation per pair of versions and `as_of`, each charged to the yearly budget of false promotions.

Judging one challenger after another on the same rows until one passes would promote by chance (multiple testing).
"""

from datetime import UTC, timedelta

from contract import documents
from contract.base_model import Versioned
from contract.comparison import Verdict
from contract.documents import RunDocument, Training
from contract.paths import StoreLayout
from plugins.retraining.context import TaskContext, comparison_of, unreleasable
from plugins.retraining.decision.gate import decide

YEAR = timedelta(days=365)
STAMP = "%Y%m%dT%H%M%S"


class Evaluation(Versioned):
    """`key`: of the `decide` that evaluated first; `number`: this one's, of `allowed` in the year up to `as_of`."""

    key: str
    verdict: Verdict
    number: int
    allowed: int | None


def evaluate(task: TaskContext) -> Evaluation:
    """The stored evaluation if this pair was judged before, else a new one. A run that releases nothing spends none."""
    run, version = task.run, task.read("train", Training).version
    comparison = comparison_of(task, version)
    name = f"{run.as_of.astimezone(UTC).strftime(STAMP)}-{_pair(run, version)}.json"
    # a refused evaluation does not count as spent, so it has a folder of its own
    spent, refused = f"{_folder(run)}/{name}", f"{StoreLayout.REFUSED_EVALUATIONS}/{run.model}/{name}"
    known = documents.find(task.store, spent, Evaluation) or documents.find(task.store, refused, Evaluation)
    if known:
        return known
    number, allowed = evaluations_spent(task) + 1, evaluations_allowed(run)
    refusal = _refusal(number, allowed)
    verdict = refusal or decide(comparison, run.spec.gate)
    evaluation = Evaluation(key=task.key, verdict=verdict, number=number, allowed=allowed)
    if unreleasable(run, verdict):
        return evaluation
    path = documents.write(task.store, refused if refusal else spent, evaluation)
    return documents.read(task.store, path, Evaluation)


def evaluations_spent(task: TaskContext) -> int:
    """Those since a year before this run's `as_of`. Includes later ones, else a series of ever earlier `as_of` would be free."""
    since = (task.run.as_of.astimezone(UTC) - YEAR).strftime(STAMP)
    return sum(name.partition("-")[0] > since for name in task.store.names(_folder(task.run)))


def evaluations_allowed(run: RunDocument) -> int | None:
    budget = run.spec.gate.yearly_false_promotions
    return None if budget is None else int(budget / run.level + 1e-9)


def _folder(run: RunDocument) -> str:
    return f"{StoreLayout.EVALUATIONS}/{run.model}"


def _pair(run: RunDocument, version: int) -> str:
    return f"{version}-{run.champion.version if run.champion else 0}"


def _refusal(number: int, allowed: int | None) -> Verdict | None:
    """The verdict where no evaluation is left."""
    if allowed is None or number <= allowed:
        return None
    reason = (
        f"No evaluation is left: all {allowed:,} that gate.yearly_false_promotions allows in a year are spent, and one more "
        "would exceed it; wait until the oldest is a year old, or raise gate.yearly_false_promotions in the spec."
    )
    return Verdict(decision="keep", reason=reason)
