"""The store: small immutable files (documents, ledger entries) under one root; no data frames.

All writes are atomic and never replace a file. Expired data is removed by folder; a protected folder never is.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

from contract.errors import StoreError


class DocumentStore(Protocol):
    """What documents and the ledger need of a store. Paths are relative, with «/» between their parts."""

    root: str

    def create(self, path: str, content: bytes) -> bool:
        """True if this call made the file; False if it was there already, whose content is then untouched."""

    def read(self, path: str) -> bytes | None:
        """The content, or None if there is no such file."""

    def names(self, folder: str) -> list[str]:
        """Names of the files directly in a folder, sorted; empty if there is no such folder."""


class Store(DocumentStore, Protocol):
    def upload(self, path: str, file: Path) -> bool:
        """As `create`, of a local file that need not fit into memory."""

    def files(self, folder: str) -> Iterator[tuple[str, datetime]]:
        """Path relative to the folder, and time of writing, of each file below the folder at any depth."""

    def remove(self, folder: str) -> int:
        """Removes a folder and returns its number of files. Raises StoreError for a protected folder, and for the root."""


def refuse_protected(folder: str, protected: tuple[str, ...]) -> None:
    """Raises StoreError for what is never removed: the root, and folders at its top whose names begin with one of `protected`."""
    parts = folder.split("/")
    if {"", "."} & set(parts) or parts[0].startswith(protected):
        raise StoreError(
            f"{folder!r} was not removed: {' and '.join(protected) or 'what is protected'} and the store's root are protected"
        )
