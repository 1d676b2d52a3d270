"""What is older than the platform keeps it goes: snapshots and runs. Never the ledger, nor what the versions in it came from.

The age is that of the newest file: a run that is cleared after weeks is at work again, and has its rows still.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, partial
from logging import Logger
from typing import Any, NamedTuple

from contract.documents import ANCHOR, Image
from contract.errors import RetrainingError
from contract.platform import Retention
from contract.store.base import Store
from release.ledger.entries import State
from release.ledger.ledger import Ledger, LedgerBroken

AT_WORK = timedelta(days=1)  # what is younger may be a job's, whatever the platform says
VALIDATED, PACKAGED = re.compile(r"validate-([0-9a-f]+)\."), re.compile(r"package-[0-9a-f]+\.json")


class NotAllRemoved(RetrainingError):
    """What could not be told or removed stays; the rest is gone."""


class Removal(NamedTuple):
    kind: str
    folder: str
    last_used: datetime


@dataclass(frozen=True)
class StoredRun:
    """A run's folder. `snapshots` are the keys of its `validate` jobs, each of which named one."""

    folder: str
    documents: frozenset[str]
    last_used: datetime

    @property
    def snapshots(self) -> set[str]:
        return {found[1] for name in self.documents if (found := VALIDATED.match(name))}

    def reports(self, snapshot: str) -> bool:
        """Also of rows that failed: somebody may want to see them."""
        return not self.documents.isdisjoint({f"validate-{snapshot}.json", f"validate-{snapshot}.report.json"})


def remove_expired(store: Store, limits: Retention, now: datetime, dry_run: bool, log: Logger) -> dict[str, int]:
    """How much of each kind was removed, or would be. Raises NotAllRemoved at the end; one model's trouble is not the others'."""
    counts, problems = {"snapshots": 0, "runs": 0, "jobs": 0, "files": 0}, []
    models = {*store.names("runs"), *store.names("snapshots")}
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
        raise NotAllRemoved(f"{len(problems)} model(s) were not cleaned, {counts}: {'; '.join(problems)}")
    return counts


def plan(store: Store, model: str, limits: Retention, now: datetime) -> Iterator[Removal]:
    """A run's snapshots before the run: it is what tells whose they are. Raises LedgerBroken where nothing can be told."""
    runs = {run.folder: run for run in _runs(store, model)}
    wanted = _wanted(store, model, runs.values())
    needed = cache(lambda folder: _is_needed(store, runs[folder], wanted))
    old = [run for run in runs.values() if now - run.last_used > max(limits.runs, AT_WORK) and not needed(run.folder)]
    owner = {key: run for run in runs.values() for key in run.snapshots}

    for key, files in _grouped(store, f"snapshots/{model}").items():
        run, last_used = owner.get(key), max(files.values())
        last_used = max(last_used, run.last_used) if run else last_used
        if run and not run.reports(key):  # its job died
            gone = now - last_used > AT_WORK
        elif now - last_used > max(limits.snapshots, AT_WORK):
            gone = run is None or not needed(run.folder)
        else:
            gone = run in old
        if gone:
            yield Removal("snapshots", f"snapshots/{model}/{key}", last_used)
    yield from (Removal("runs", run.folder, run.last_used) for run in old)


def old_jobs(store: Store, limits: Retention, now: datetime) -> Iterator[Removal]:
    """Tickets and event logs of a cluster's jobs."""
    for place in ("jobs", "events"):
        for name, files in _grouped(store, place).items():
            if now - max(files.values()) > max(limits.runs, AT_WORK):
                yield Removal("jobs", f"{place}/{name}", max(files.values()))


def _runs(store: Store, model: str) -> Iterator[StoredRun]:
    for name, files in _grouped(store, f"runs/{model}").items():
        yield StoredRun(f"runs/{model}/{name}", frozenset(files), max(files.values()))


def _grouped(store: Store, folder: str) -> dict[str, dict[str, datetime]]:
    """By the folders directly below."""
    found: dict[str, dict[str, datetime]] = defaultdict(dict)
    for path, written in store.files(folder):
        name, inside, rest = path.partition("/")
        if inside:
            found[name][rest] = written
    return found


class _Wanted(NamedTuple):
    """What a model's versions came from: by the runs that their images name, and by their and their anchors' numbers."""

    runs: set[str]
    versions: set[int]


def _wanted(store: Store, model: str, runs: Iterable[StoredRun]) -> _Wanted:
    last = Ledger(store).last(model)
    if last is None and any(name.startswith("check-") for run in runs for name in run.documents):
        place = f"{store.root}/ledger/{model}"
        raise LedgerBroken(f"{place} is empty, but there were checks: restore it from a backup; nothing is removed until then")
    images = _images(last.state) if last else []
    anchors = {int(image.labels[ANCHOR]) for image in images if ANCHOR in image.labels}
    return _Wanted({image.labels.get("retraining.run", "") for image in images}, {image.version for image in images} | anchors)


def _images(state: State) -> list[Image]:
    requests = (*state.queue, *([state.active.request] if state.active else ()))
    found = (state.live, state.previous, state.checked, state.active and state.active.image, *(each.image for each in requests))
    return [image for image in found if image]


def _is_needed(store: Store, run: StoredRun, wanted: _Wanted) -> bool:
    """Only of what is old, for it reads. What cannot be read may be needed."""
    try:
        opened = [_said(store, run, name)["run_id"] for name in run.documents if name.startswith("run-")]
        packaged = [_said(store, run, name)["version"] for name in run.documents if PACKAGED.fullmatch(name)]
    except (ValueError, KeyError, TypeError):
        return True
    return not opened or not wanted.runs.isdisjoint(opened) or not wanted.versions.isdisjoint(packaged)


def _said(store: Store, run: StoredRun, name: str) -> dict[str, Any]:
    """As plain data: a document of an earlier release of this code is as good."""
    return json.loads(store.read(f"{run.folder}/{name}") or b"")
