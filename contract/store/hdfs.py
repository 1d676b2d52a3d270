"""The store in HDFS: a rename that refuses an existing name makes `create` atomic."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from contract.errors import StoreError
from contract.store.base import refuse_protected
from contract.store.webhdfs import MISSING, PAUSE_S, TAKEN, TRIES, Refused, Unavailable, WebHdfs

Answer = TypeVar("Answer")


class HdfsStore:
    """`root` is hdfs://NAMENODE:PORT/PATH or hdfs://NAMESERVICE/PATH."""

    def __init__(self, root: str, protected: tuple[str, ...] = (), tries: int = TRIES, pause_s: float = PAUSE_S):
        self.root = root.rstrip("/")
        self._protected = protected
        self._folder = urlsplit(self.root).path
        self._hdfs = WebHdfs(self.root, tries, pause_s)

    def create(self, path: str, content: bytes) -> bool:
        return self._make(path, content)

    def upload(self, path: str, file: Path) -> bool:
        return self._make(path, file)

    def read(self, path: str) -> bytes | None:
        return self._unless_missing(path, "read", lambda remote: self._hdfs.request("GET", remote, "OPEN").content)

    def names(self, folder: str) -> list[str]:
        return sorted(status["pathSuffix"] for status in self._listed(folder))

    def files(self, folder: str) -> Iterator[tuple[str, datetime]]:
        for status in self._listed(folder):
            name = status["pathSuffix"]
            if status["type"] == "DIRECTORY":
                yield from ((f"{name}/{path}", written) for path, written in self.files(f"{folder}/{name}".lstrip("/")))
            else:
                yield name, datetime.fromtimestamp(status["modificationTime"] / 1000, UTC)

    def remove(self, folder: str) -> int:
        """Atomic in HDFS."""
        self._at(folder)
        refuse_protected(folder, self._protected)
        summary = self._unless_missing(
            folder, "removed", lambda remote: self._hdfs.request("GET", remote, "GETCONTENTSUMMARY").json()
        )
        if summary is None or summary["ContentSummary"]["directoryCount"] == 0:
            return 0
        self._unless_missing(folder, "removed", lambda remote: self._hdfs.request("DELETE", remote, "DELETE", recursive="true"))
        return int(summary["ContentSummary"]["fileCount"])

    def _make(self, path: str, content: bytes | Path) -> bool:
        """Written under a temporary name first: in HDFS, an unfinished file is visible under its name."""
        if self._exists(path):
            return False
        with self._store_errors(path, "written"):
            temporary = self._hdfs.again(lambda: self._write_beside(self._at(path), content))
            moved = False
            try:
                moved = self._move(temporary, path)
            finally:
                if not moved:
                    self._drop(temporary)
            return moved

    def _write_beside(self, remote: str, content: bytes | Path) -> str:
        """Under a new name for each try: the file of an earlier one may still be written to."""
        temporary = f"{remote.rpartition('/')[0]}/.new-{uuid.uuid4().hex}"
        try:
            self._hdfs.request("PUT", temporary, "CREATE", content, overwrite="false")
        except (Refused, Unavailable):
            self._drop(temporary)
            raise
        return temporary

    def _move(self, temporary: str, path: str) -> bool:
        """True if this file has the name now. If an answer was lost and the temporary file is gone, the rename was done."""
        unsure = False

        def rename() -> bool:
            nonlocal unsure
            try:  # without the option, it would move into a folder of that name
                answer = self._hdfs.request("PUT", temporary, "RENAME", destination=self._at(path), renameoptions="NONE")
            except Unavailable:
                unsure = True
                raise
            except Refused as refused:
                if refused.code == TAKEN:
                    return False
                if refused.code == MISSING and unsure:
                    return self._exists(path)
                raise
            if answer.content:
                raise Refused("", "its WebHDFS ignores «renameoptions»: two writers could both win there")
            return True

        return self._hdfs.again(rename)

    def _drop(self, temporary: str) -> None:
        """Best effort: the name is never listed, and is removed with its folder."""
        with suppress(Refused, Unavailable, StoreError):
            self._hdfs.request("DELETE", temporary, "DELETE")

    def _exists(self, path: str) -> bool:
        return self._unless_missing(path, "written", lambda remote: self._hdfs.request("GET", remote, "GETFILESTATUS")) is not None

    def _listed(self, folder: str) -> list[dict[str, Any]]:
        answer = self._unless_missing(folder, "listed", lambda remote: self._hdfs.request("GET", remote, "LISTSTATUS").json())
        statuses = answer["FileStatuses"]["FileStatus"] if answer else []
        return [status for status in statuses if status["pathSuffix"] and not status["pathSuffix"].startswith(".")]

    def _unless_missing(self, path: str, done: str, request: Callable[[str], Answer]) -> Answer | None:
        remote = self._at(path)
        with self._store_errors(path, done):
            try:
                return self._hdfs.again(lambda: request(remote))
            except Refused as refused:
                if refused.code != MISSING:
                    raise
        return None

    def _at(self, path: str) -> str:
        if path.startswith("/") or ".." in path.split("/"):
            raise StoreError(f"{path!r} is not a path inside the store")
        return f"{self._folder}/{path}".rstrip("/") or "/"

    @contextmanager
    def _store_errors(self, path: str, done: str) -> Iterator[None]:
        sentence = f"{self.root}/{path} could not be {done}"
        try:
            yield
        except Refused as error:
            raise StoreError(f"{sentence}: {self._hdfs.advice(error)}") from error
        except Unavailable as error:
            raise StoreError(f"{sentence}: {error}, {self._hdfs.tries} times; see that HDFS runs, then clear this task") from error
