"""Removes snapshots and runs beyond the platform's retention; never the ledger, nor the runs of the versions in its state.

The age is that of the newest file, so that a run cleared after weeks still has its snapshot.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

from contract.documents import Image
from contract.errors import PermanentError, RetrainingError
from contract.paths import FileName, JobFiles, StoreLayout
from contract.platform import Retention
from contract.store.base import Store
from plugins.retraining.task_log import Log
from release.ledger.entries import State
from release.ledger.ledger import Ledger, LedgerBroken
from release.ledger.requests import image_of

AT_WORK = timedelta(days=1)  # minimum age: a job may still use what is younger


class NotAllRemoved(PermanentError):
    """Some files could not be judged or removed; the rest is gone."""


class Removal(NamedTuple):
    kind: str
    folder: str
    last_used: datetime


@dataclass(frozen=True)
class StoredRun:
    """A run's folder. `snapshots`: keys of its `validate` jobs, which name their snapshots."""

    folder: str
    documents: frozenset[str]
    last_used: datetime

    @cached_property
    def names(self) -> list[FileName]:
        return [name for name in map(FileName.parse, sorted(self.documents)) if name]

    @property
    def snapshots(self) -> set[str]:
        return {name.key for name in self.names if name.step == "validate"}

    def reports(self, snapshot: str) -> bool:
        """Whether the job of this snapshot left a document, also for data that failed: people may inspect it."""
        return any(name[:2] == ("validate", snapshot) and name.kind in ("", "report") for name in self.names)


def remove_expired(store: Store, limits: Retention, now: datetime, dry_run: bool, log: Log) -> dict[str, int]:
    """Number removed (or to be removed) by kind. Raises NotAllRemoved at the end, so that one model does not block others."""
    counts, problems = {"snapshots": 0, "runs": 0, "jobs": 0, "files": 0}, []
    models = {*store.names(StoreLayout.RUNS), *store.names(StoreLayout.SNAPSHOTS)}
    plans = {model: partial(plan, store, model, limits, now) for model in sorted(models)} | {
        "jobs": partial(old_jobs, store, limits, now)
    }
    for name, removals in plans.items():
        try:
            for kind, folder, last_used in removals():
                log.info("%s %s, last used %s", "would remove" if dry_run else "removing", folder, f"{last_used:%Y-%m-%d %H:%M}")
                counts["files"] += 0 if dry_run else store.remove(folder)
                counts[kind] += 1
        except RetrainingError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise NotAllRemoved(f"{len(problems)} model(s) could not be cleaned, {counts}: {'; '.join(problems)}")
    return counts


def plan(store: Store, model: str, limits: Retention, now: datetime) -> Iterator[Removal]:
    """A run's snapshots before the run, which assigns them. Raises LedgerBroken where the ledger cannot be read."""
    runs = {run.folder: run for run in _runs(store, model)}
    protected = _protected_by_ledger(store, model, runs.values())
    needed = cache(lambda folder: _is_needed(store, runs[folder], protected))
    old = [run for run in runs.values() if now - run.last_used > max(limits.runs, AT_WORK) and not needed(run.folder)]
    owner = {key: run for run in runs.values() for key in run.snapshots}

    for key, files in _grouped(store, f"{StoreLayout.SNAPSHOTS}/{model}").items():
        run, last_used = owner.get(key), max(files.values())
        last_used = max(last_used, run.last_used) if run else last_used
        if run and not run.reports(key):  # its job died
            gone = now - last_used > AT_WORK
        elif now - last_used > max(limits.snapshots, AT_WORK):
            gone = run is None or not needed(run.folder)
        else:
            gone = run in old
        if gone:
            yield Removal("snapshots", StoreLayout.snapshot(model, key), last_used)
    yield from (Removal("runs", run.folder, run.last_used) for run in old)


def old_jobs(store: Store, limits: Retention, now: datetime) -> Iterator[Removal]:
    """Tickets and event logs of a cluster's jobs."""
    for folder in (StoreLayout.JOBS, StoreLayout.EVENTS):
        for name, files in _grouped(store, folder).items():
            if now - max(files.values()) > max(limits.runs, AT_WORK):
                yield Removal("jobs", f"{folder}/{name}", max(files.values()))


def _runs(store: Store, model: str) -> Iterator[StoredRun]:
    for name, files in _grouped(store, f"{StoreLayout.RUNS}/{model}").items():
        yield StoredRun(f"{StoreLayout.RUNS}/{model}/{name}", frozenset(files), max(files.values()))


def _grouped(store: Store, folder: str) -> dict[str, dict[str, datetime]]:
    """Files by the first folder below `folder`: relative path to time."""
    groups: dict[str, dict[str, datetime]] = defaultdict(dict)
    for path, written in store.files(folder):
        name, inside, rest = path.partition("/")
        if inside:
            groups[name][rest] = written
    return groups


class _Protected(NamedTuple):
    """What must stay of a model: runs named by its images' labels, and version numbers of its images and their anchors."""

    runs: set[str]
    versions: set[int]


def _protected_by_ledger(store: Store, model: str, runs: Iterable[StoredRun]) -> _Protected:
    last = Ledger(store).last(model)
    if last is None and any(name.step == "check" for run in runs for name in run.names):
        path = f"{store.root}/ledger/{model}"
        raise LedgerBroken(f"{path} is empty, but there were checks: restore it from a backup; nothing is removed until then")
    images = _images(last.state) if last else []
    anchors = {image.anchor for image in images if image.anchor is not None}
    return _Protected({image.run_id for image in images}, {image.version for image in images} | anchors)


def _images(state: State) -> list[Image]:
    requests = (*state.queue, *([state.active.request] if state.active else ()))
    requested = (image_of(request) for request in requests)
    images = (state.live, state.previous, state.checked, state.active and state.active.image, *requested)
    return [image for image in images if image]


def _is_needed(store: Store, run: StoredRun, protected: _Protected) -> bool:
    """Reads documents, so call it for old runs only. True if one cannot be read."""
    try:
        opened = [_document(store, run, name)["run_id"] for name in run.names if name.step == "run"]
        packaged = [_document(store, run, name)["version"] for name in run.names if (name.step, name.kind) == ("package", "")]
    except (ValueError, KeyError, TypeError):
        return True
    return not opened or not protected.runs.isdisjoint(opened) or not protected.versions.isdisjoint(packaged)


def _document(store: Store, run: StoredRun, name: FileName) -> dict[str, Any]:
    """As plain JSON, to accept documents of earlier versions of this code."""
    content: dict[str, Any] = json.loads(store.read(JobFiles(run.folder, name.step, name.key).document) or b"")
    return content
