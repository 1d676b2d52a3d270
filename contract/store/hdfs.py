"""The store in HDFS: a rename that refuses an existing name makes `create` atomic."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from contract.errors import StoreError
from contract.store import webhdfs
from contract.store.base import refuse_protected
from contract.store.webhdfs import MISSING, TAKEN, Later, Refused, WebHdfs

Found = TypeVar("Found")


class HdfsStore:
    """`root` is hdfs://NAMENODE:PORT/PATH or hdfs://NAMESERVICE/PATH."""

    def __init__(self, root: str, protected: tuple[str, ...] = ()):
        self.root = root.rstrip("/")
        self._protected = protected
        self._folder = urlsplit(self.root).path
        self._hdfs = WebHdfs(self.root)

    def create(self, path: str, content: bytes) -> bool:
        return self._make(path, content)

    def upload(self, path: str, file: Path) -> bool:
        return self._make(path, file)

    def read(self, path: str) -> bytes | None:
        return self._if_there(path, "read", lambda place: self._hdfs.ask("GET", place, "OPEN").content)

    def names(self, folder: str) -> list[str]:
        return sorted(each["pathSuffix"] for each in self._listed(folder))

    def files(self, folder: str) -> Iterator[tuple[str, datetime]]:
        for each in self._listed(folder):
            name = each["pathSuffix"]
            if each["type"] == "DIRECTORY":
                yield from ((f"{name}/{path}", written) for path, written in self.files(f"{folder}/{name}".lstrip("/")))
            else:
                yield name, datetime.fromtimestamp(each["modificationTime"] / 1000, UTC)

    def remove(self, folder: str) -> int:
        """HDFS removes it whole, or not at all."""
        self._at(folder)
        refuse_protected(folder, self._protected)
        found = self._if_there(folder, "removed", lambda place: self._hdfs.ask("GET", place, "GETCONTENTSUMMARY").json())
        if found is None or found["ContentSummary"]["directoryCount"] == 0:
            return 0
        self._if_there(folder, "removed", lambda place: self._hdfs.ask("DELETE", place, "DELETE", recursive="true"))
        return int(found["ContentSummary"]["fileCount"])

    def _make(self, path: str, content: bytes | Path) -> bool:
        """Written beside its place first: in HDFS, a file that is being written has its name already."""
        if self._is_there(path):
            return False
        with self._telling(path, "written"):
            temporary = self._hdfs.again(lambda: self._write_beside(self._at(path), content))
            moved = False
            try:
                moved = self._move(temporary, path)
            finally:
                if not moved:
                    self._drop(temporary)
            return moved

    def _write_beside(self, place: str, content: bytes | Path) -> str:
        """Under a new name at each try: what an earlier one has left may still be written to."""
        temporary = f"{place.rpartition('/')[0]}/.new-{uuid.uuid4().hex}"
        try:
            self._hdfs.ask("PUT", temporary, "CREATE", content, overwrite="false")
        except (Refused, Later):
            self._drop(temporary)
            raise
        return temporary

    def _move(self, temporary: str, path: str) -> bool:
        """True if it has the name now. Where an answer was lost and the temporary one is gone, it was moved."""
        unsure = False

        def rename() -> bool:
            nonlocal unsure
            try:  # without the option, it would move into a folder of that name
                answer = self._hdfs.ask("PUT", temporary, "RENAME", destination=self._at(path), renameoptions="NONE")
            except Later:
                unsure = True
                raise
            except Refused as refused:
                if refused.code == TAKEN:
                    return False
                if refused.code == MISSING and unsure:
                    return self._is_there(path)
                raise
            if answer.content:
                raise Refused("", "its WebHDFS ignores «renameoptions»: two writers could both win there")
            return True

        return self._hdfs.again(rename)

    def _drop(self, temporary: str) -> None:
        """If it is there and can be: its name is never listed, and it goes with its folder."""
        with suppress(Refused, Later, StoreError):
            self._hdfs.ask("DELETE", temporary, "DELETE")

    def _is_there(self, path: str) -> bool:
        return self._if_there(path, "written", lambda place: self._hdfs.ask("GET", place, "GETFILESTATUS")) is not None

    def _listed(self, folder: str) -> list[dict[str, Any]]:
        answer = self._if_there(folder, "listed", lambda place: self._hdfs.ask("GET", place, "LISTSTATUS").json())
        found = answer["FileStatuses"]["FileStatus"] if answer else []
        return [each for each in found if each["pathSuffix"] and not each["pathSuffix"].startswith(".")]

    def _if_there(self, path: str, done: str, ask: Callable[[str], Found]) -> Found | None:
        place = self._at(path)
        with self._telling(path, done):
            try:
                return self._hdfs.again(lambda: ask(place))
            except Refused as refused:
                if refused.code != MISSING:
                    raise
        return None

    def _at(self, path: str) -> str:
        if path.startswith("/") or ".." in path.split("/"):
            raise StoreError(f"{path!r} is not a path inside the store")
        return f"{self._folder}/{path}".rstrip("/") or "/"

    @contextmanager
    def _telling(self, path: str, done: str) -> Iterator[None]:
        told = f"{self.root}/{path} could not be {done}"
        try:
            yield
        except Refused as error:
            raise StoreError(f"{told}: {self._hdfs.advice(error)}") from error
        except Later as error:
            raise StoreError(f"{told}: {error}, {webhdfs.TRIES} times; see that HDFS runs, then clear this task") from error
