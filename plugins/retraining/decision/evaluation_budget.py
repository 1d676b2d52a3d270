"""One evaluation per `as_of`: a pair of versions is judged once as of one time, and the yearly budget pays for each evaluation.

Whoever judges one challenger after another on the same rows, until one passes, promotes chance.
"""

from datetime import UTC, timedelta

from contract import documents
from contract.base_model import Versioned
from contract.comparison import Verdict
from contract.documents import RunDocument, Training
from plugins.retraining.context import TaskContext, comparison_of, unreleasable
from plugins.retraining.decision.gate import decide

YEAR = timedelta(days=365)
STAMP = "%Y%m%dT%H%M%S"


class Evaluation(Versioned):
    """`key`: of the `decide` that evaluated first; `number`: how many of the year until `as_of`, with this one, of `allowed`."""

    key: str
    verdict: Verdict
    number: int
    allowed: int | None


def evaluate(work: TaskContext) -> Evaluation:
    """The stored evaluation where this pair was judged before, else a new one. A run that releases nothing spends none."""
    run, version = work.run, work.read("train", Training).version
    comparison = comparison_of(work, version)
    name = f"{run.as_of.astimezone(UTC).strftime(STAMP)}-{_pair(run, version)}.json"
    spent, refused = f"{_folder(run)}/{name}", f"evaluations-refused/{run.model}/{name}"  # who is refused has spent none
    known = documents.find(work.store, spent, Evaluation) or documents.find(work.store, refused, Evaluation)
    if known:
        return known
    number, allowed = evaluations_spent(work) + 1, evaluations_allowed(run)
    none_left = allowed is not None and number > allowed
    verdict = _none_left(allowed) if none_left else decide(comparison, run.spec.gate)
    evaluation = Evaluation(key=work.key, verdict=verdict, number=number, allowed=allowed)
    if unreleasable(run, verdict):
        return evaluation
    path = documents.write(work.store, refused if none_left else spent, evaluation)
    return documents.read(work.store, path, Evaluation)


def evaluations_spent(work: TaskContext) -> int:
    """Since a year before this run's `as_of`; also later ones, or a series of ever earlier times would be free."""
    since = (work.run.as_of.astimezone(UTC) - YEAR).strftime(STAMP)
    return sum(name.partition("-")[0] > since for name in work.store.names(_folder(work.run)))


def evaluations_allowed(run: RunDocument) -> int | None:
    budget = run.spec.gate.yearly_false_promotions
    return None if budget is None else int(budget / run.level + 1e-9)


def _folder(run: RunDocument) -> str:
    return f"evaluations/{run.model}"


def _pair(run: RunDocument, version: int) -> str:
    return f"{version}-{run.champion.version if run.champion else 0}"


def _none_left(allowed: int) -> Verdict:
    reason = (
        f"No evaluation is left: all {allowed:,} that gate.yearly_false_promotions pays for in a year are spent, and one more "
        "would promote too much by chance; wait for the oldest to be a year old, or accept more false promotions in the spec."
    )
    return Verdict(decision="keep", reason=reason)
