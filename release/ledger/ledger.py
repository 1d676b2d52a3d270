"""The append-only, numbered record of what should be live. Each entry holds the whole state: only the last one is needed."""

import re
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from pydantic import ValidationError

from contract import documents
from contract.base_model import Versioned
from contract.documents import Image
from contract.errors import PermanentError, StoreError, TooNew
from contract.paths import StoreLayout
from contract.store.base import DocumentStore
from release.ledger.entries import Draft, Entry, Outcome, State
from release.ledger.requests import Request

_FOLDER, _ENTRY = re.compile(r"\d{5}"), re.compile(r"\d{8}\.json")
ENTRIES_IN_A_FOLDER = 1000
OUTCOMES = "outcomes"  # beside the folders of entries
OUTCOME_POLLED_WITHIN = timedelta(days=7)  # a caller that waits for an outcome polls every few seconds


class LedgerBroken(PermanentError):
    """A model's ledger has a gap or an entry that cannot be read: no release starts until it is restored."""


class OutcomeEntry(Versioned):
    """In which entry a request's outcome is."""

    entry: int


class Ledger:
    def __init__(self, store: DocumentStore) -> None:
        self.store = store
        self._followed: dict[str, int] = {}  # model: number of an entry up to which there is no gap

    def models(self) -> list[str]:
        return self.store.names(StoreLayout.LEDGER)

    def last(self, model: str) -> Entry | None:
        """Raises LedgerBroken at a gap or an unreadable entry. An instance lists all names once, then reads newer entries only."""
        known = self._followed.get(model) or self._listed(model)
        entry = self._read(model, known) if known else None
        while entry and (newer := self._find(model, entry.n + 1)):
            self._refuse_other_predecessor(model, entry, newer)
            entry = newer
        if entry:
            self._followed[model] = entry.n
        return entry

    def entries(self, model: str) -> Iterator[Entry]:
        """Newest first."""
        last = self.last(model)
        if last:
            yield from self._back_from(last, model)

    def champion(self, model: str) -> Image | None:
        """The live image; during a release the old one."""
        last = self.last(model)
        return last.state.live if last else None

    def was_live(self, model: str, version: int) -> Image | None:
        """The newest image of this version that has had all traffic."""
        live = (entry.state.live for entry in self.entries(model))
        return next((image for image in live if image and image.version == version), None)

    def at(self, model: str, when: datetime) -> Entry | None:
        """The last entry at or before that time."""
        return next((entry for entry in self.entries(model) if entry.time <= when), None)

    def outcome(self, model: str, request_id: str) -> Outcome | None:
        """None while the request waits or is in work, or was never made."""
        last = self.last(model)
        if last is None or last.state.waits(request_id):
            return None
        return self._outcome_by(last, model, request_id)

    def request(self, request: Request) -> None:
        """Puts the request in the model's queue, once: a repeated id changes nothing."""
        while True:
            last = self.last(request.model)
            state = last.state if last else State()
            if state.waits(request.id) or (last and self._outcome_by(last, request.model, request.id)):
                return
            queued = state.model_copy(update={"queue": (*state.queue, request)})
            draft = Draft(who=request.who, why=request.why, what=f"{request.kind} requested", state=queued)
            if self.append(request.model, last, draft):
                return

    def append(self, model: str, after: Entry | None, draft: Draft) -> Entry | None:
        """The new entry, or None if another process has appended after `after`: then read and decide again."""
        now = datetime.now(UTC)
        entry = Entry(
            **dict(draft),
            n=after.n + 1 if after else 1,
            id=uuid.uuid4().hex,
            previous=after.id if after else None,
            time=max(after.time, now) if after else now,  # a clock that jumps back must not reorder what happened
        )
        content = (entry.model_dump_json(indent=1) + "\n").encode()
        if not self.store.create(self._path(model, entry.n), content):
            return None
        for outcome in draft.outcomes:
            self._index(model, outcome.request, entry.n)
        return entry

    def _index(self, model: str, request_id: str, n: int) -> None:
        """Only makes an outcome quick to find: without it recent entries are read."""
        with suppress(StoreError):
            documents.write(self.store, self._outcome_path(model, request_id), OutcomeEntry(entry=n))

    def _outcome_by(self, last: Entry, model: str, request_id: str) -> Outcome | None:
        """What is newer than `last` may be missed: then nothing can be appended after `last`, either."""
        return last.state.outcome(request_id) or self._older_outcome(last, model, request_id)

    def _older_outcome(self, last: Entry, model: str, request_id: str) -> Outcome | None:
        """From the index; else from recent entries only, for a ledger grows for years and each new request comes here."""
        indexed = documents.find(self.store, self._outcome_path(model, request_id), OutcomeEntry)
        if indexed:
            return next((outcome for outcome in self._read(model, indexed.entry).outcomes if outcome.request == request_id), None)
        since = datetime.now(UTC) - OUTCOME_POLLED_WITHIN
        recent = takewhile(lambda entry: entry.time >= since, self._back_from(last, model))
        brought = (outcome for entry in recent for outcome in entry.outcomes)
        return next((outcome for outcome in brought if outcome.request == request_id), None)

    def _listed(self, model: str) -> int:
        """The number of entries. Raises LedgerBroken at a gap."""
        folders = [name for name in self.store.names(_folder(model)) if name != OUTCOMES]
        for folder in folders:
            self._refuse_foreign(_FOLDER, _folder(model), folder)
        names = [(folder, name) for folder in folders for name in self.store.names(f"{_folder(model)}/{folder}")]
        for expected, (folder, name) in enumerate(names, start=1):
            self._refuse_foreign(_ENTRY, f"{_folder(model)}/{folder}", name)
            if int(name[:8]) != expected:
                raise self._broken(model, expected, "is missing")
        return len(names)

    def _refuse_foreign(self, pattern: re.Pattern[str], folder: str, name: str) -> None:
        if pattern.fullmatch(name) is None:
            raise LedgerBroken(f"{self.store.root}/{folder}/{name} is no ledger entry: move it away; releases wait until then")

    def _back_from(self, entry: Entry, model: str) -> Iterator[Entry]:
        yield entry
        while entry.n > 1:
            entry = self._before(entry, model)
            yield entry

    def _before(self, entry: Entry, model: str) -> Entry:
        before = self._read(model, entry.n - 1)
        self._refuse_other_predecessor(model, before, entry)
        return before

    def _refuse_other_predecessor(self, model: str, before: Entry, after: Entry) -> None:
        if before.id != after.previous:
            raise self._broken(
                model, before.n, f"cannot be trusted (its id is not the one that entry {after.n} names as its predecessor)"
            )

    def _read(self, model: str, n: int) -> Entry:
        entry = self._find(model, n)
        if entry is None:
            raise self._broken(model, n, "is missing")
        return entry

    def _find(self, model: str, n: int) -> Entry | None:
        content = self.store.read(self._path(model, n))
        if content is None:
            return None
        try:
            entry = documents.parse(Entry, content)
        except TooNew as error:
            raise LedgerBroken(f"{self.store.root}/{self._path(model, n)}: {error}; releases wait until then") from None
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"]
            raise self._broken(model, n, f"cannot be trusted ({reason})") from None
        if entry.n != n:
            raise self._broken(model, n, f"cannot be trusted (it says that it is entry {entry.n})")
        return entry

    def _broken(self, model: str, n: int, how: str) -> LedgerBroken:
        path = f"{self.store.root}/{self._path(model, n)}"
        return LedgerBroken(f"{path} {how}: restore it from a backup; releases wait until then")

    def _path(self, model: str, n: int) -> str:
        return f"{_folder(model)}/{n // ENTRIES_IN_A_FOLDER:05d}/{n:08d}.json"

    def _outcome_path(self, model: str, request_id: str) -> str:
        return f"{_folder(model)}/{OUTCOMES}/{request_id}.json"


def _folder(model: str) -> str:
    return f"{StoreLayout.LEDGER}/{model}"
