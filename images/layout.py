"""An OCI image layout: a folder of blobs named by their sha256, and one index. Everything read from it is verified."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contract.paths import Digest
from images.files import write_whole
from images.layer import sha256
from images.oci import INDEX, MANIFEST, Descriptor, ImageDamaged, Repository, canonical, check_digest, descriptor

REF_NAME = "org.opencontainers.image.ref.name"


class Layout:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, media_type: str, content: bytes) -> Descriptor:
        """An existing blob is reused only if its bytes match the digest."""
        blob = descriptor(media_type, content)
        path = self._blob_path(blob["digest"])
        if not path.exists() or sha256(path.read_bytes()) != blob["digest"]:
            write_whole(path, content)
        return blob

    def copy(self, descriptor: Descriptor, source: Repository) -> None:
        if not self._blob_path(descriptor["digest"]).exists():
            self.put(descriptor["mediaType"], source.blob(descriptor["digest"]))

    def blob(self, digest: str) -> bytes:
        path = self._blob_path(digest)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise ImageDamaged(f"{path} is missing; clear the package task of its run, which writes it again") from None
        if sha256(content) != digest:
            raise ImageDamaged(
                f"{path} was altered: its bytes are {sha256(content)}; clear the package task of its run, which writes it again"
            )
        return content

    def manifest(self, digest: str) -> bytes:
        return self.blob(digest)

    def confirm(self, manifest: dict[str, Any]) -> None:
        for part in (manifest["config"], *manifest["layers"]):
            self.blob(part["digest"])

    def name(self, digest: str, name: str) -> None:
        """A manifest that has several names has an entry for each; one that lost its name stays, without it."""
        manifest = {"mediaType": MANIFEST, "digest": digest, "size": len(self.manifest(digest))}
        with self._locked():
            self._refuse_incomplete(digest)
            others = [_unnamed(entry, name) for entry in self._manifests() if (entry["digest"], _name(entry)) != (digest, name)]
            self._write([*others, {**manifest, "annotations": {REF_NAME: name}}])

    def resolve(self, name: str) -> str | None:
        return self.names().get(name)

    def names(self) -> dict[str, str]:
        return {name: entry["digest"] for entry in self._manifests() if (name := _name(entry))}

    def delete(self, digest: str) -> None:
        """Includes the blobs that no other manifest of the index refers to."""
        with self._locked():
            manifests = self._manifests()
            kept = [entry for entry in manifests if entry["digest"] != digest]
            gone = {digest} | (self._parts(digest) if self._blob_path(digest).exists() else set())
            needed = {part for entry in kept for part in (entry["digest"], *self._parts(entry["digest"]))}
            if kept != manifests:
                self._write(kept)
            for unneeded in gone - needed:
                self._blob_path(unneeded).unlink(missing_ok=True)

    def reference(self, digest: str) -> str:
        return f"oci:{self.folder}@{digest}"

    def _manifests(self) -> list[dict[str, Any]]:
        path = self.folder / "index.json"
        try:
            manifests: list[dict[str, Any]] = json.loads(path.read_bytes())["manifests"]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError):
            raise ImageDamaged(
                f"{path} is no image index; move it away and clear the package task: only names are lost, images go by digest"
            ) from None
        return manifests

    def _write(self, manifests: list[dict[str, Any]]) -> None:
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        write_whole(self.folder / "oci-layout", canonical({"imageLayoutVersion": "1.0.0"}))
        write_whole(self.folder / "index.json", canonical(index))

    def _parts(self, digest: str) -> set[str]:
        manifest = json.loads(self.manifest(digest))
        return {blob["digest"] for blob in (manifest["config"], *manifest["layers"])}

    def _refuse_incomplete(self, digest: str) -> None:
        """A blob that was there when it was to be put may have been deleted since, with the last manifest that referred to it."""
        lost = [path for part in self._parts(digest) if not (path := self._blob_path(part)).exists()]
        if lost:
            raise ImageDamaged(f"{lost[0]} is missing; clear the package task of its run, which writes it again")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _blob_path(self, digest: str) -> Path:
        return self.folder / "blobs" / "sha256" / Digest(check_digest(digest)).hex


def _name(entry: dict[str, Any]) -> str | None:
    annotations: dict[str, str] = entry.get("annotations", {})
    return annotations.get(REF_NAME)


def _unnamed(entry: dict[str, Any], name: str) -> dict[str, Any]:
    if _name(entry) != name:
        return entry
    return {key: value for key, value in entry.items() if key != "annotations"}
