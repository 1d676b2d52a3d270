"""One look per `as_of`. A pair of versions is judged once as of one time, and each look is one of those that a yearly budget pays.

Whoever judges one challenger after another on the same rows, until one passes, promotes chance.
"""

from datetime import UTC, timedelta

from contract import documents
from contract.base_model import Versioned
from contract.comparison import Verdict
from contract.documents import RunDocument, Training
from plugins.retraining.context import Work, comparison_of, unreleasable
from plugins.retraining.decision.gate import decide

YEAR = timedelta(days=365)
STAMP = "%Y%m%dT%H%M%S"


class Look(Versioned):
    """`key` is that of the `decide` which looked first; `number` counts the looks of the year until `as_of`, of `allowed`."""

    key: str
    verdict: Verdict
    number: int
    allowed: int | None


def look_at(work: Work) -> Look:
    """The stored look where this pair was judged before, else a new one. A run that releases nothing spends none."""
    run, version = work.run, work.read("train", Training).version
    comparison = comparison_of(work, version)
    name = f"{run.as_of.astimezone(UTC).strftime(STAMP)}-{_pair(run, version)}.json"
    spent, refused = f"{_folder(run)}/{name}", f"looks-refused/{run.model}/{name}"  # who is refused has spent none
    known = documents.find(work.store, spent, Look) or documents.find(work.store, refused, Look)
    if known:
        return known
    number, allowed = looks_spent(work) + 1, looks_allowed(run)
    none_left = allowed is not None and number > allowed
    verdict = _none_left(allowed) if none_left else decide(comparison, run.spec.gate)
    look = Look(key=work.key, verdict=verdict, number=number, allowed=allowed)
    if unreleasable(run, verdict):
        return look
    path = documents.write(work.store, refused if none_left else spent, look)
    return documents.read(work.store, path, Look)


def looks_spent(work: Work) -> int:
    """Since a year before this run's `as_of`; also later ones, or a series of ever earlier times would be free."""
    since = (work.run.as_of.astimezone(UTC) - YEAR).strftime(STAMP)
    return sum(name.partition("-")[0] > since for name in work.store.names(_folder(work.run)))


def looks_allowed(run: RunDocument) -> int | None:
    budget = run.spec.gate.yearly_false_promotions
    return None if budget is None else int(budget / run.level + 1e-9)


def _folder(run: RunDocument) -> str:
    return f"looks/{run.model}"


def _pair(run: RunDocument, version: int) -> str:
    return f"{version}-{run.champion.version if run.champion else 0}"


def _none_left(allowed: int) -> Verdict:
    reason = (
        f"No look is left: all {allowed:,} that gate.yearly_false_promotions pays for in a year are spent, and one more "
        "would promote too much by chance; wait for the oldest to be a year old, or accept more false promotions in the spec."
    )
    return Verdict(decision="keep", reason=reason)
