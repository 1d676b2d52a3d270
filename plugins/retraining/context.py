"""The context of one step of one run, and the reasons that end a run before its release."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from contract import documents
from contract.comparison import Approval, Comparison, Verdict
from contract.documents import JOBS, RunDocument
from contract.keys import Attempt, attempt_of
from contract.paths import JobFiles
from contract.store.base import Store
from plugins.retraining.errors import Stopped


@dataclass(frozen=True)
class TaskContext:
    """One step of one run.

    `inputs`: path of the document by step; `clear_number`: the run's current one, not that of its freeze.
    """

    step: str
    run: RunDocument
    store: Store
    inputs: dict[str, str]
    clear_number: int

    @cached_property
    def attempt(self) -> Attempt:
        """Computed once per try, so that files written by the try do not change its key."""
        return attempt_of(self.store, self.run.folder, self.step, list(self.inputs.values()), self.clear_number)

    @property
    def key(self) -> str:
        return self.attempt.key

    @property
    def files(self) -> JobFiles:
        return JobFiles(self.run.folder, self.step, self.key)

    @property
    def path(self) -> str:
        return self.files.document

    def beside(self, kind: str) -> str:
        return self.files.beside(kind)

    def later_jobs(self) -> Iterator["TaskContext"]:
        """Those of the Spark jobs after this one, as their own tasks will have them when this one has left its document."""
        steps, paths = list(JOBS), {**self.inputs, self.step: self.path}
        for step in steps[steps.index(self.step) + 1 :]:
            later = replace(self, step=step, inputs={name: paths[name] for name in JOBS[step]})
            paths[step] = later.path
            yield later

    def find(self, kind: type[documents.Document]) -> documents.Document | None:
        return documents.find(self.store, self.path, kind)

    def read(self, step: str, kind: type[documents.Document]) -> documents.Document:
        return documents.read(self.store, self.inputs[step], kind)


def comparison_of(task: TaskContext, version: int) -> Comparison:
    """The comparison of this version with the champion frozen by the run.

    Raises Stopped where it is of other versions: a step was cleared without its downstream steps.
    """
    comparison, champion = task.read("compare", Comparison), task.run.champion
    compared, opened = comparison.comparisons[0].version, champion.version if champion else None
    if (comparison.version, compared) != (version, opened):
        raise Stopped(
            f"this run is about version {version} against {_against(opened)}, but its comparison is of version "
            f"{comparison.version} against {_against(compared)}: clear `compare` and its downstream tasks"
        )
    return comparison


def _against(version: int | None) -> str:
    return "the trivial baseline" if version is None else f"version {version}"


def ends_here(run: RunDocument, verdict: Verdict) -> str:
    """Why this run must not release its challenger, in one sentence; empty if it may."""
    if not verdict.goes_on:
        answered = f"; {approval_sentence(verdict.approval)}" if verdict.approval else ""
        return f"{verdict.decision}: {verdict.reason}{answered}"
    return unreleasable(run, verdict)


def approval_sentence(approval: Approval) -> str:
    return f"{approval.by} said {'yes' if approval.approved else 'no'}{f': {approval.reason}' if approval.reason else ''}"


def unreleasable(run: RunDocument, verdict: Verdict) -> str:
    """Why this run releases nothing, whatever its verdict; empty if it may release."""
    if run.backfill:
        return f"a backfill never releases; its verdict would be: {verdict.reason}"
    if not run.release:
        return f"this run was triggered with release off; its verdict would be: {verdict.reason}"
    if run.champion and run.as_of <= run.champion.as_of:
        return (
            f"not released: as of {run.as_of:%Y-%m-%d %H:%M} is not later than the live "
            f"version {run.champion.version}, as of {run.champion.as_of:%Y-%m-%d %H:%M}"
        )
    return ""
