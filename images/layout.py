"""An OCI image layout: a folder of blobs named by their sha256, and one index. Nothing in it is trusted unread."""

import fcntl
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contract.errors import BadData
from contract.strict import Strict
from images.files import write_whole
from images.layer import UnsafeLayer, check_names, read_layer, sha256

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
REF_NAME = "org.opencontainers.image.ref.name"
UNPACKED_LIMIT = 4 * 2**30  # bytes of one image's files; they pass through memory
HASHES = "files.sha256"  # of an unpacked folder, as `sha256sum --check` reads it


class ImageDamaged(BadData):
    """What is stored is not what the digest names; nothing of it may be served."""


class ImageConfig(Strict):
    """How a container of the image is started."""

    env: dict[str, str]
    command: tuple[str, ...]
    labels: dict[str, str]


def canonical(value: Any) -> bytes:
    """JSON whose bytes depend on nothing but the value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Layout:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, media_type: str, content: bytes) -> dict[str, Any]:
        """Stores a blob and returns its descriptor; one that is there is used only if its bytes are right."""
        digest = sha256(content)
        path = self._blob_path(digest)
        if not path.exists() or sha256(path.read_bytes()) != digest:
            write_whole(path, content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

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

    def document(self, digest: str) -> dict[str, Any]:
        return json.loads(self.blob(digest))

    def name(self, manifest: dict[str, Any], name: str) -> None:
        """Adds a manifest to the index under `name`. Another one that had the name stays, without it."""
        with self._locked():
            others = [_unnamed(entry, name) for entry in self._manifests() if entry["digest"] != manifest["digest"]]
            named = {**manifest, "annotations": {REF_NAME: name}}
            index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [*others, named]}
            write_whole(self.folder / "oci-layout", canonical({"imageLayoutVersion": "1.0.0"}))
            write_whole(self.folder / "index.json", canonical(index))

    def names(self) -> dict[str, str]:
        """Name: digest of every named image."""
        named = [entry for entry in self._manifests() if REF_NAME in entry.get("annotations", {})]
        return {entry["annotations"][REF_NAME]: entry["digest"] for entry in named}

    def _manifests(self) -> list[dict[str, Any]]:
        path = self.folder / "index.json"
        try:
            return json.loads(path.read_bytes())["manifests"]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError):
            raise ImageDamaged(
                f"{path} is no image index; move it away and clear the package task: only names are lost, images go by digest"
            ) from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _blob_path(self, digest: str) -> Path:
        algorithm, _, value = digest.partition(":")
        if algorithm != "sha256" or len(value) != 64 or set(value) - set("0123456789abcdef"):
            raise ImageDamaged(f"{digest!r} is no sha256 digest; images are named by digest only")
        return self.folder / "blobs" / "sha256" / value


def parse_reference(reference: str) -> tuple[Path, str]:
    """Folder and digest of «oci:FOLDER@sha256:…»."""
    kind, _, rest = reference.partition(":")
    folder, at, digest = rest.rpartition("@")
    if kind != "oci" or not at or not folder:
        raise ImageDamaged(f"{reference!r} is no image reference; oci:FOLDER@sha256:… is wanted")
    return Path(folder), digest


def unpack(reference: str, folder: Path) -> ImageConfig:
    """Makes `folder` hold exactly the image's files, each blob verified.

    A folder from earlier is kept if every file in it is still right, else replaced whole. Raises ImageDamaged.
    """
    place, digest = parse_reference(reference)
    try:
        config, files = _read(Layout(place), digest)
    except (KeyError, TypeError, ValueError):
        raise ImageDamaged(f"{reference} names no image of layers; package the version again") from None
    hashes = "".join(f"{sha256(content)[7:]}  {name}\n" for name, content in sorted(files.items()))
    wanted = {**files, HASHES: hashes.encode()}
    if _content(folder) != wanted:
        _replace(folder, wanted)
    return ImageConfig(
        env=dict(pair.split("=", 1) for pair in config.get("Env", [])),
        command=config.get("Cmd", []),
        labels=config.get("Labels", {}),
    )


def _read(layout: Layout, digest: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The container's configuration, and the files of all layers: later ones cover earlier ones."""
    manifest = layout.document(digest)
    config = layout.document(manifest["config"]["digest"])
    files: dict[str, bytes] = {}
    left = UNPACKED_LIMIT
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        try:
            found = read_layer(layout.blob(layer["digest"]), diff_id, limit=left)
            check_names({**files, **found})
        except UnsafeLayer as error:
            raise ImageDamaged(
                f"layer {layer['digest']} of image {digest} is refused: {error}; package the version again"
            ) from None
        left -= sum(map(len, found.values()))
        files.update(found)
    return config["config"], files


def _content(folder: Path) -> dict[str, bytes] | None:
    """Every file below, or None where something else than files and folders is there, such as a link."""
    paths = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    if any(path.is_symlink() or not path.is_file() for path in paths):
        return None
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _replace(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        for name, content in files.items():
            write_whole(new / name, content)
        new.chmod(0o755)
        if folder.exists():
            folder.rename(new.with_name(new.name.replace(".new-", ".old-")))
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(new.with_name(new.name.replace(".new-", ".old-")), ignore_errors=True)


def _unnamed(entry: dict[str, Any], name: str) -> dict[str, Any]:
    if entry.get("annotations", {}).get(REF_NAME) != name:
        return entry
    return {key: value for key, value in entry.items() if key != "annotations"}
