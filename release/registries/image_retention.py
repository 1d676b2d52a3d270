"""Deletes images of a model that the ledger does not need; where the ledger cannot be read, everything stays.

A registry deletes a digest with all its names: a digest stays if one of its names does. `serving-base` is never cleaned.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from contract.errors import PermanentError
from contract.paths import Digest
from images.oci import Repository
from release.ledger.entries import Entry, State
from release.ledger.ledger import Ledger
from release.ledger.requests import image_of

VERSION = re.compile(r"v(0|[1-9]\d*)")
ATTACHED = re.compile(r"sha256-([0-9a-f]{64})\.(sig|sbom)")


class NotCleaned(PermanentError):
    """Which images are needed is not known; nothing more was deleted."""


Names = tuple[str, ...]


class ManifestDecision(NamedTuple):
    """One manifest of the repository, and why it stays or goes."""

    digest: str
    names: Names
    why: str


class RemovalPlan(NamedTuple):
    """As of one entry of the model's ledger. Images come before their signatures and SBOMs."""

    model: str
    entry: int
    going: tuple[ManifestDecision, ...]
    staying: tuple[ManifestDecision, ...]


def plan(repository: Repository, model: str, ledger: Ledger, keep: int) -> RemovalPlan:
    """Deletes nothing. Raises LedgerBroken or NotCleaned where it is not known which images are needed."""
    names = repository.names()  # before the ledger: images packaged meanwhile are not listed
    entries = ledger.entries(model)
    last = next(entries, None)
    if last is None:
        raise NotCleaned(
            f"{model} has no ledger entry in {ledger.store.root}: nothing was deleted; see that the platform file names its store"
        )
    return decide(model, last.n, names, needed(last.state, chain([last], entries)), keep)


def clean(repository: Repository, model: str, ledger: Ledger, keep: int) -> RemovalPlan:
    """Deletes; stops with NotCleaned at a new entry of the ledger, which may need an image that was to go."""
    removal = plan(repository, model, ledger, keep)
    for count, manifest in enumerate(removal.going):
        last = ledger.last(model)
        if last is None or last.n != removal.entry:
            raise NotCleaned(
                f"{model} was changed while its images were cleaned: {count} of {len(removal.going)} went; run it again"
            )
        repository.delete(manifest.digest)
    return removal


def needed(state: State, entries: Iterable[Entry]) -> dict[str, str]:
    """Digest: why. An image that ever had traffic always stays: for rollbacks, and to reproduce its answers."""
    reasons: dict[str, str] = {}
    for digest, why in chain(_needed_now(state), _ever_had_traffic(entries)):
        reasons.setdefault(digest, why)
    return reasons


def decide(model: str, entry: int, names: Mapping[str, str], needed: Mapping[str, str], keep: int) -> RemovalPlan:
    """Pure. `needed` is digest: why, also of manifests that have no name any more."""
    names_of = {digest: tuple(name for name in names if names[name] == digest) for digest in sorted(set(names.values()))}
    newest = sorted((number for name in names if (number := _version(name)) is not None), reverse=True)[:keep]
    stays = {digest: needed.get(digest) or _named(mine, set(newest)) for digest, mine in names_of.items()}
    stays = {digest: why for digest, why in stays.items() if why}
    stays |= _attached(names_of, stays.keys() | needed.keys())
    goes = {digest: _gone(mine) for digest, mine in names_of.items() if digest not in stays}
    return RemovalPlan(
        model,
        entry,
        *(
            _in_order(ManifestDecision(digest, names_of[digest], reasons[digest]) for digest in reasons)
            for reasons in (goes, stays)
        ),
    )


def plan_lines(plan: RemovalPlan) -> list[str]:
    """For people: the images that would go, and why the others stay."""
    count = f"{len(plan.going)} of {len(plan.going) + len(plan.staying)}" if plan.going else "none"
    return [
        f"{plan.model}: {count} go",
        *(f"  goes   {_line(manifest)}" for manifest in plan.going),
        *(f"  stays  {_line(manifest)}" for manifest in plan.staying),
    ]


def _needed_now(state: State) -> Iterator[tuple[str, str]]:
    images = [
        (state.live, "live"),
        (state.previous, "to go back to"),
        (state.checked, "passed its check"),
        (state.active and state.active.image, "in work"),
        *((image_of(request), "requested") for request in state.queue),
        *((entry.image, "in quarantine") for entry in state.quarantined),
    ]
    yield from ((image.digest, why) for image, why in images if image)


def _ever_had_traffic(entries: Iterable[Entry]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        was = [image.digest for image in (entry.state.live, entry.state.previous) if image]
        yield from ((digest, "had traffic") for digest in (*was, *entry.state.weights))


def _version(name: str) -> int | None:
    match = VERSION.fullmatch(name)
    return int(match[1]) if match else None


def _subject(name: str) -> str:
    """The digest that a signature or an SBOM belongs to; empty for other names."""
    match = ATTACHED.fullmatch(name)
    return f"sha256:{match[1]}" if match else ""


def _named(mine: Names, newest: set[int]) -> str:
    """Why a manifest's names keep it: one is of the newest versions, or not one that this project gives; empty: none does."""
    given = [name for name in mine if _version(name) is None and not _subject(name)]
    if given:
        return f"named {given[0]}"
    return f"one of the newest {len(newest)} versions" if newest & set(map(_version, mine)) else ""


def _attached(names_of: Mapping[str, Names], kept: set[str]) -> dict[str, str]:
    """Digest: why, of signatures and SBOMs of manifests that stay, recursively."""
    more = {
        digest: f"of {_short(subject)}, which stays"
        for digest, mine in names_of.items()
        if digest not in kept
        for subject in map(_subject, mine)
        if subject in kept
    }
    return more | _attached(names_of, kept | more.keys()) if more else {}


def _gone(mine: Names) -> str:
    return "its image is gone, or goes" if all(map(_subject, mine)) else "none of the newest versions, and it never had traffic"


def _in_order(manifests: Iterable[ManifestDecision]) -> tuple[ManifestDecision, ...]:
    """By version; signatures and SBOMs come last."""
    return tuple(
        sorted(
            manifests, key=lambda manifest: (all(map(_subject, manifest.names)), [_version(name) or 0 for name in manifest.names])
        )
    )


def _line(manifest: ManifestDecision) -> str:
    names = [f"{_short(_subject(name))}.{name.rpartition('.')[2]}" if _subject(name) else name for name in sorted(manifest.names)]
    return f"{', '.join(names)} ({_short(manifest.digest)}): {manifest.why}"


def _short(digest: str) -> str:
    return Digest(digest).short
