"""Every model's last entry on the controller's own disk, for rollbacks while the store cannot be reached."""

import logging
from pathlib import Path

from pydantic import ValidationError

from contract.base_model import Versioned
from contract.documents import parse
from images.files import write_whole
from release.ledger.entries import Entry, State

log = logging.getLogger(__name__)


class LocalRecord(Versioned):
    """`ahead` is the state after rollbacks since `entry` that are not in the ledger yet."""

    entry: Entry
    ahead: State | None = None

    @property
    def state(self) -> State:
        return self.ahead or self.entry.state


class LocalState:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._kept = {path.stem: record for path in folder.glob("*.json") if (record := _read(path))}

    def models(self) -> list[str]:
        return list(self._kept)

    def get(self, model: str) -> LocalRecord | None:
        return self._kept.get(model)

    def put(self, model: str, record: LocalRecord) -> None:
        """On disk when this returns, as an entry of the ledger is; with a full disk in memory only, and an older record stays."""
        if record == self._kept.get(model):
            return
        self._kept[model] = record
        path = self._folder / f"{model}.json"
        try:
            write_whole(path, record.model_dump_json(indent=1).encode())
        except OSError as error:
            log.warning("%s: the last entry is kept in memory only: %s could not be written (%s)", model, path, error.strerror)


def _read(path: Path) -> LocalRecord | None:
    try:
        return parse(LocalRecord, path.read_bytes())
    except ValidationError:
        log.warning("%s cannot be read and is left aside; the ledger has the same entry", path)
        return None
