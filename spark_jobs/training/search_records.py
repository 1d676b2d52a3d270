"""The ended fits of a search, in the store: a search that was killed goes on from them."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from contract import documents
from contract.documents import Candidate, SearchRecord
from contract.paths import FileName, JobFiles
from contract.store.base import Store

log = logging.getLogger(__name__)
KIND = "candidate"


class SearchStore(NamedTuple):
    """Where a job keeps the ended fits of its search."""

    store: Store
    files: JobFiles


class SearchRecords:
    """Of one search, by the number of the fit; `search` as in SearchRecord.

    `ended`: when fits ended, in seconds of searching, those of earlier attempts included.
    """

    def __init__(self, kept: SearchStore, search: str):
        self._store, self._files, self._search = *kept, search
        stored = {number: documents.read(self._store, self._path(number), SearchRecord) for number in self._numbers()}
        self._earlier = {number: record for number, record in stored.items() if record.search == search}
        self.ended = [record.elapsed for record in self._earlier.values()]
        if self._earlier:
            log.info(f"train: {len(self._earlier)} fits of the search were made by an earlier attempt")
        if len(stored) > len(self._earlier):
            log.info(f"train: {len(stored) - len(self._earlier)} recorded fits belong to another search and are not taken over")

    def candidates(self, number: int) -> Sequence[Candidate]:
        """Of a fit that an earlier attempt made; empty where none did."""
        return self._earlier[number].candidates if number in self._earlier else ()

    def add(self, number: int, candidates: Sequence[Candidate], elapsed: float) -> None:
        self.ended.append(elapsed)
        record = SearchRecord(search=self._search, candidates=tuple(candidates), elapsed=elapsed)
        documents.write(self._store, self._path(number), record)

    def _numbers(self) -> list[int]:
        names = filter(None, map(FileName.parse, self._store.names(self._files.folder)))
        ours = [name for name in names if (name.step, name.key, name.kind) == (self._files.step, self._files.key, KIND)]
        return [name.number for name in ours if name.number is not None]

    def _path(self, number: int) -> str:
        return self._files.beside(f"{KIND}-{number}")
