"""The store in a bucket: S3's conditional writes make `create` atomic. boto3's own configuration gives credentials and endpoint."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tenacity import RetryError, Retrying, retry_if_exception, retry_if_result, stop_after_attempt, wait_exponential
from tenacity.retry import retry_base

from contract.errors import StoreError
from contract.store.base import refuse_protected

Answer = TypeVar("Answer")
TRIES, PAUSE_S = 5, 0.3
RETRYABLE = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "ThrottlingException", "503", "500"}
BUSY, TAKEN, MISSING = "ConditionalRequestConflict", "PreconditionFailed", ("NoSuchKey", "404")


class S3Store:
    """`root` is s3://BUCKET/PREFIX. Any S3 that honours «If-None-Match: *»; others are refused before the first write."""

    def __init__(self, root: str, protected: tuple[str, ...] = (), tries: int = TRIES, pause_s: float = PAUSE_S):
        import boto3  # takes a second, which a local store must not cost
        from botocore.config import Config

        self._protected, self._tries, self._pause_s = protected, tries, pause_s
        self.root = root.rstrip("/")
        parts = urlsplit(self.root)
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        once = {"total_max_attempts": 1}  # retries are made here, where it is known what they mean
        config = Config(connect_timeout=5, read_timeout=20, retries=once)
        self._s3 = boto3.client("s3", config=config)
        self._probed = False

    def create(self, path: str, content: bytes) -> bool:
        return self._make(path, content)

    def upload(self, path: str, file: Path) -> bool:
        """One conditional write, streamed from the file: S3 takes up to 5 GB this way."""
        return self._size(path) is None and self._make(path, file)

    def _make(self, path: str, content: bytes | Path) -> bool:
        """Retried after a failure that leaves open whether the write was done; the object's content then says who won."""
        key = self._key(path)
        if not self._probed:
            self._probe()
        codes: list[str] = []

        def put() -> str:
            codes.append(self._put(key, content, path))
            return codes[-1]

        try:
            code = self._retrying(retry_if_result(lambda code: code not in ("", TAKEN)))(put)
        except RetryError:
            sentence = f"{self.root}/{path} could not be written: {codes[-1]}, {self._tries} times"
            raise StoreError(f"{sentence}; see that the bucket answers, then clear this task") from None
        unsure = any(failure != BUSY for failure in codes[:-1])
        return code == "" or (unsure and self._holds(path, content))

    def read(self, path: str) -> bytes | None:
        with self._store_errors(path, "read"):
            return self._again(lambda: self._s3.get_object(Bucket=self._bucket, Key=self._key(path))["Body"].read())

    def names(self, folder: str) -> list[str]:
        prefix = f"{self._key(folder)}/"
        children: set[str] = set()
        with self._store_errors(folder, "listed"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/")
            for page in pages:
                children |= {entry["Key"].removeprefix(prefix) for entry in page.get("Contents", ())}
                children |= {entry["Prefix"].removeprefix(prefix).rstrip("/") for entry in page.get("CommonPrefixes", ())}
        return sorted(name for name in children if name and not name.startswith("."))

    def files(self, folder: str) -> Iterator[tuple[str, datetime]]:
        prefix = f"{self._key(folder)}/"
        with self._store_errors(folder, "listed"):
            for entries in self._pages(prefix):
                yield from ((entry["Key"].removeprefix(prefix), entry["LastModified"]) for entry in entries)

    def remove(self, folder: str) -> int:
        prefix, count = f"{self._key(folder)}/", 0
        refuse_protected(folder, self._protected)
        with self._store_errors(folder, "removed"):
            for entries in self._pages(prefix):
                keys = [{"Key": entry["Key"]} for entry in entries]
                answer = self._s3.delete_objects(Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True})
                for refused in answer.get("Errors", ()):
                    sentence = f"{self.root}/{folder} could not be removed: {len(answer['Errors'])} of its objects stay"
                    raise StoreError(f"{sentence} ({refused.get('Code')}); see that this user may delete them")
                count += len(keys)
        return count

    def _pages(self, prefix: str) -> Iterator[list[dict[str, Any]]]:
        """Objects in pages of up to 1,000, as many as S3 lists or deletes at once."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        yield from (page["Contents"] for page in pages if page.get("Contents"))

    def _holds(self, path: str, content: bytes | Path) -> bool:
        return self._size(path) == content.stat().st_size if isinstance(content, Path) else self.read(path) == content

    def _size(self, path: str) -> int | None:
        with self._store_errors(path, "read"):
            return self._again(lambda: self._s3.head_object(Bucket=self._bucket, Key=self._key(path))["ContentLength"])

    def _put(self, key: str, content: bytes | Path, path: str) -> str:
        """Empty if written; else the error's code, of those that a retry, or reading the object, can resolve."""
        with self._store_errors(path, "written"):
            try:
                with content.open("rb") if isinstance(content, Path) else nullcontext(content) as body:
                    self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, IfNoneMatch="*")
            except Exception as error:
                code = _code(error)
                if code in (BUSY, TAKEN) or _may_pass(error):
                    return code
                raise
        return ""

    def _again(self, read: Callable[[], Answer]) -> Answer | None:
        """None if there is no such object."""
        try:
            return self._retrying(retry_if_exception(_may_pass))(read)
        except Exception as error:
            if _code(error) in MISSING:
                return None
            raise

    def _retrying(self, again: retry_base) -> Retrying:
        """The last try's exception is raised as it is; RetryError for a result that was to be tried again."""
        return Retrying(stop=stop_after_attempt(self._tries), wait=wait_exponential(self._pause_s), retry=again, reraise=True)

    def _probe(self) -> None:
        """A store that takes a second write under one name would let two writers win: nothing is written to it."""
        name = f".probe-{uuid.uuid4().hex}"
        key = self._key(name)
        first, second = self._put(key, b"1", name), self._put(key, b"2", name)
        with self._store_errors(name, "removed"):
            self._s3.delete_object(Bucket=self._bucket, Key=key)
        if first == "" and second != TAKEN:
            raise StoreError(f"{self.root} ignores «If-None-Match: *»: two writers could both win there; use a store that keeps it")
        if first:
            raise StoreError(f"{self.root} could not be written: {first}; see that the bucket answers, then clear this task")
        self._probed = True

    def _key(self, path: str) -> str:
        if path.startswith("/") or ".." in path.split("/"):
            raise StoreError(f"{path!r} is not a path inside the store")
        return f"{self._prefix}/{path}" if self._prefix else path

    @contextmanager
    def _store_errors(self, path: str, done: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            advice = {
                "AccessDenied": "permission is denied to this user",
                "403": "permission is denied to this user",
                "NoSuchBucket": f"there is no bucket {self._bucket}",
            }.get(_code(error), str(error)[:300])
            raise StoreError(f"{self.root}/{path} could not be {done}: {advice}") from error


def _code(error: BaseException) -> str:
    response = getattr(error, "response", None)
    return str(response["Error"]["Code"]) if response else type(error).__name__


def _may_pass(error: BaseException) -> bool:
    from botocore.exceptions import ConnectionError, HTTPClientError

    return isinstance(error, ConnectionError | HTTPClientError) or _code(error) in RETRYABLE
