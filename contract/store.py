"""The store: small immutable files (documents, ledger entries) under one root. Frames do not pass here.

`create` is the one primitive all else stands on: it makes a file whole, or not at all, and only if it was absent.
"""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from contract.errors import StoreError


class Store(Protocol):
    """Paths are relative, with «/» between their parts."""

    root: str

    def create(self, path: str, content: bytes) -> bool:
        """True if this call made the file; False if it was there already, whose content is then untouched."""

    def read(self, path: str) -> bytes | None:
        """The content, or None if there is no such file."""

    def names(self, folder: str) -> list[str]:
        """Names of the files directly in a folder, sorted; empty if there is no such folder."""


class LocalStore:
    """A folder on this host (or one mounted with POSIX links and fsync)."""

    def __init__(self, root: str):
        self.root = root

    def create(self, path: str, content: bytes) -> bool:
        target = self._at(path)
        with self._telling("written", target):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                return False
            return _link_new(target, content)

    def read(self, path: str) -> bytes | None:
        target = self._at(path)
        with self._telling("read", target):
            try:
                return target.read_bytes()
            except FileNotFoundError:
                return None

    def names(self, folder: str) -> list[str]:
        target = self._at(folder)
        with self._telling("listed", target):
            try:
                return sorted(entry.name for entry in os.scandir(target) if not entry.name.startswith("."))
            except FileNotFoundError:
                return []

    def _at(self, path: str) -> Path:
        if path.startswith("/") or ".." in path.split("/"):
            raise StoreError(f"{path!r} is not a path inside the store")
        return Path(self.root, path)

    @contextmanager
    def _telling(self, done: str, target: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            advice = {
                errno.ENOSPC: "the disk is full: free space, then clear this task",
                errno.EDQUOT: "the quota is used up: free space, then clear this task",
                errno.EROFS: "the file system is read-only",
                errno.EACCES: "permission is denied to this user",
            }.get(error.errno or 0, error.strerror)
            raise StoreError(f"{target} could not be {done}: {advice}") from error


def _link_new(target: Path, content: bytes) -> bool:
    """A link appears whole or not at all, and never replaces one that is there; rename would."""
    handle, temporary = tempfile.mkstemp(prefix=".new-", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
        _fsync_folder(target.parent)
        return True
    finally:
        os.unlink(temporary)


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def store_at(root: str) -> Store:
    """The store of a platform's `store` root."""
    if root.startswith("s3://"):
        from contract.s3 import S3Store

        return S3Store(root)
    if "://" in root:
        raise StoreError(f"store {root}: a local folder or s3://BUCKET/PREFIX is supported")
    return LocalStore(root)
