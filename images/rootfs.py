"""The system under the server: layers of another image, or one tar of a root folder, and whether Python runs on it."""

import gzip
import io
import json
import re
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from contract.errors import PermanentError
from images.layer import sha256
from images.oci import INDEXES, LAYER, Descriptor, ImageDamaged, Repository, as_oci, check_digest
from images.references import find

MACHINES = {62: "amd64", 183: "arm64"}  # of an ELF header
PYTHON = re.compile(r"^(?:\./)?((?:usr/)?(?:local/)?bin/python3\.(\d+))$")
MUSL = re.compile(r"^(?:\./)?(?:usr/)?lib/ld-musl-")


class UnfitRootfs(PermanentError):
    """The server's wheels do not run on this rootfs."""


class Part(NamedTuple):
    """One layer; `diff_id` is its tar's digest."""

    descriptor: Descriptor
    diff_id: str


class Rootfs(NamedTuple):
    """`python`: the interpreter's path inside; `path`: its PATH; `source`: its layers' repository."""

    parts: tuple[Part, ...]
    python: str
    path: str
    source: Repository


def open_rootfs(name: str, repository: Repository, minor: int, machine: str) -> Rootfs:
    """Of «file:PATH@sha256:…», whose tar becomes a layer in `repository`, or of «HOST/NAME@sha256:…». Raises UnfitRootfs."""
    if name.startswith("file:"):
        parts, tars, path, source = *_from_file(name, repository), "", repository
    else:
        parts, tars, path, source = _from_image(name, machine)
    return Rootfs(parts, f"/{_fit(name, tars, minor, machine)}", path, source)


def _from_file(name: str, repository: Repository) -> tuple[tuple[Part, ...], list[bytes]]:
    path, _, digest = name.removeprefix("file:").rpartition("@")
    try:
        tar = Path(path).read_bytes()
    except OSError as error:
        raise UnfitRootfs(f"the rootfs {path} cannot be read ({error.strerror}); correct images.rootfs") from None
    if sha256(tar) != check_digest(digest):
        raise UnfitRootfs(f"the rootfs {path} is {sha256(tar)}, not {digest}: correct images.rootfs, or find out who changed it")
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=3, fileobj=packed, mtime=0) as stream:
        stream.write(tar)
    return (Part(repository.put(LAYER, packed.getvalue()), digest),), [tar]


def _from_image(name: str, machine: str) -> tuple[tuple[Part, ...], list[bytes], str, Repository]:
    source, digest = find(name)
    manifest = json.loads(source.manifest(digest))
    if manifest.get("mediaType") in INDEXES or "manifests" in manifest:
        manifest = json.loads(source.manifest(_of_machine(name, manifest["manifests"], machine)))
    config = json.loads(source.blob(manifest["config"]["digest"]))
    if config.get("architecture") != machine:
        raise UnfitRootfs(f"{name} is for {config.get('architecture')}, but {machine} is needed")
    parts = tuple(Part(*pair) for pair in zip(map(as_oci, manifest["layers"]), config["rootfs"]["diff_ids"], strict=True))
    tars = [_unpacked(source.blob(part.descriptor["digest"]), part) for part in parts]
    env = dict(pair.split("=", 1) for pair in config.get("config", {}).get("Env") or [])
    return parts, tars, env.get("PATH", ""), source


def _of_machine(name: str, manifests: list[Descriptor], machine: str) -> str:
    digests: dict[str, str] = {
        f"{manifest['platform']['os']}/{manifest['platform']['architecture']}": manifest["digest"]
        for manifest in manifests
        if "platform" in manifest
    }
    if f"linux/{machine}" not in digests:
        raise UnfitRootfs(f"{name} has {', '.join(sorted(digests))}, but linux/{machine} is needed")
    return digests[f"linux/{machine}"]


def _unpacked(content: bytes, part: Part) -> bytes:
    tar = gzip.decompress(content)
    if sha256(tar) != part.diff_id:
        raise ImageDamaged(f"layer {part.descriptor['digest']} unpacks to {sha256(tar)}, its configuration says {part.diff_id}")
    return tar


def _fit(name: str, tars: list[bytes], minor: int, machine: str) -> str:
    """Path of the interpreter. Where there are several of the right minor, the first on the usual PATH."""
    members = [(tar, member) for tar in tars for member in _members(tar)]
    if any(MUSL.match(member.name) for _, member in members):
        raise UnfitRootfs(f"{name} has musl; the server's wheels are for glibc: take an image of Debian or the like, not Alpine")
    interpreters = {match[1]: (int(match[2]), tar, member) for tar, member in members if (match := PYTHON.match(member.name))}
    fitting = sorted(
        (path, tar, member) for path, (there, tar, member) in interpreters.items() if there == minor and member.isfile()
    )
    if not fitting:
        there = ", ".join(sorted(f"3.{number}" for number, _, _ in interpreters.values())) or "none"
        raise UnfitRootfs(f"{name} has no Python 3.{minor} (it has: {there}); the server's wheels are for that one")
    path, tar, member = fitting[-1]
    _refuse_machine(name, tar, member, machine)
    return path


def _members(tar: bytes) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        yield from archive


def _refuse_machine(name: str, tar: bytes, member: tarfile.TarInfo, machine: str) -> None:
    """By the interpreter's ELF header: a configuration may be wrong, and a tar has none."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        content = archive.extractfile(member)
        header = content.read(20) if content else b""
    actual = MACHINES.get(struct.unpack("<H", header[18:20])[0], "another machine") if header[:4] == b"\x7fELF" else "no machine"
    if actual != machine:
        raise UnfitRootfs(f"{name} has a Python for {actual}, but {machine} is needed")
