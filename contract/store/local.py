"""The store in a folder."""

import errno
import io
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from contract.errors import StoreError
from contract.store.base import refuse_protected


class LocalStore:
    """A folder on this host (or one mounted with POSIX links and fsync)."""

    def __init__(self, root: str, protected: tuple[str, ...] = ()):
        self.root = root
        self._protected = protected

    def create(self, path: str, content: bytes) -> bool:
        return self._make(path, io.BytesIO(content))

    def upload(self, path: str, file: Path) -> bool:
        with file.open("rb") as content:
            return self._make(path, content)

    def read(self, path: str) -> bytes | None:
        target = self._at(path)
        with self._store_errors("read", target):
            try:
                return target.read_bytes()
            except FileNotFoundError:
                return None

    def names(self, folder: str) -> list[str]:
        target = self._at(folder)
        with self._store_errors("listed", target):
            try:
                return sorted(entry.name for entry in os.scandir(target) if not entry.name.startswith("."))
            except FileNotFoundError:
                return []

    def files(self, folder: str) -> Iterator[tuple[str, datetime]]:
        target = self._at(folder)
        with self._store_errors("listed", target):
            for parent, folders, names in os.walk(target, onerror=_raise_unless_missing):
                folders[:] = (name for name in folders if not name.startswith("."))
                for name in names:
                    path = Path(parent, name)
                    with suppress(FileNotFoundError):  # a temporary name, linked to its final one meanwhile
                        yield path.relative_to(target).as_posix(), datetime.fromtimestamp(path.lstat().st_mtime, UTC)

    def remove(self, folder: str) -> int:
        """Renamed first, so that it is atomic. What a killed removal has left is deleted by the next one."""
        target = self._at(folder)
        refuse_protected(folder, self._protected)
        with self._store_errors("removed", target):
            if not target.is_dir():
                return 0
            if target.resolve() != Path(self.root).resolve() / folder:
                raise StoreError(f"{target} was not removed: a link on the way to it leads elsewhere; remove it by hand")
            count = sum(len(names) for _, _, names in os.walk(target))
            target.rename(target.with_name(f".gone-{uuid.uuid4().hex}"))
            for gone in target.parent.glob(".gone-*"):
                shutil.rmtree(gone)
            return count

    def _make(self, path: str, content: BinaryIO) -> bool:
        target = self._at(path)
        with self._store_errors("written", target):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                return False
            return _link_new(target, content)

    def _at(self, path: str) -> Path:
        if path.startswith("/") or ".." in path.split("/"):
            raise StoreError(f"{path!r} is not a path inside the store")
        return Path(self.root, path)

    @contextmanager
    def _store_errors(self, done: str, target: Path) -> Iterator[None]:
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


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _link_new(target: Path, content: BinaryIO) -> bool:
    """A link appears whole or not at all, and never replaces one that is there; rename would."""
    handle, temporary = tempfile.mkstemp(prefix=".new-", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            shutil.copyfileobj(content, file)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
        sync_folder(target.parent)
        return True
    finally:
        os.unlink(temporary)


def sync_folder(folder: Path) -> None:
    """A name is on disk once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
