"""One deterministic tar+gzip layer: equal files give equal bytes, whatever their order, owner or age."""

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from contract.errors import PermanentError

OWNER = 65532  # the usual «nonroot» of images without a shell


class UnsafeLayer(PermanentError):
    """A layer contains what must never be unpacked on this host."""


class Layer(NamedTuple):
    """`diff_id` names the tar, `digest` the compressed bytes that are stored."""

    content: bytes
    digest: str
    diff_id: str


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def build_layer(files: Mapping[str, bytes]) -> Layer:
    """The files, under relative names with «/», and their parent folders."""
    check_names(files)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files.keys() | _folders(files)):
            archive.addfile(_header(name, files.get(name)), io.BytesIO(files.get(name, b"")))
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=packed, mtime=0) as stream:
        stream.write(tar.getvalue())
    return Layer(packed.getvalue(), sha256(packed.getvalue()), sha256(tar.getvalue()))


def read_layer(content: bytes, diff_id: str, limit: int) -> dict[str, bytes]:
    """The layer's files, in memory: at most `limit` bytes of tar. Raises UnsafeLayer."""
    try:
        tar = gzip.GzipFile(fileobj=io.BytesIO(content)).read(limit + 1)
        if len(tar) > limit:
            raise UnsafeLayer(f"it unpacks to more than {limit:,} bytes")
        if sha256(tar) != diff_id:
            raise UnsafeLayer(f"it unpacks to {sha256(tar)}, its configuration says {diff_id}")
        return _regular_files(tar)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UnsafeLayer(f"it is no gzipped tar ({error})") from None


def check_names(names: Mapping[str, bytes]) -> None:
    """Refuses names that would leave the folder they are unpacked to, and a file where another needs a folder."""
    for name in names:
        if name != str(PurePosixPath(name)) or name.startswith("/") or ".." in name.split("/") or name == "." or "\0" in name:
            raise UnsafeLayer(f"{name!r} is no plain relative name")
    clash = sorted(names.keys() & _folders(names))
    if clash:
        raise UnsafeLayer(f"{clash[0]!r} is both a file and a folder")


def _regular_files(tar: bytes) -> dict[str, bytes]:
    files = {}
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            if member.isdir():
                continue
            content = archive.extractfile(member) if member.isfile() and not member.issparse() else None
            if content is None:
                raise UnsafeLayer(f"{member.name!r} is a link or a special file")
            if member.name in files:
                raise UnsafeLayer(f"{member.name!r} is in it twice")
            files[member.name] = content.read()
    check_names(files)
    return files


def _folders(names: Mapping[str, bytes]) -> set[str]:
    return {str(parent) for name in names for parent in PurePosixPath(name).parents} - {"."}


def _header(name: str, content: bytes | None) -> tarfile.TarInfo:
    """A folder's header where there is no content."""
    header = tarfile.TarInfo(name)
    header.uid = header.gid = OWNER
    if content is None:
        header.type, header.mode = tarfile.DIRTYPE, 0o755
    else:
        header.size, header.mode = len(content), 0o444
    return header
