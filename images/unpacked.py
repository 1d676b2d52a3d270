"""An image's files in a folder of this host, verified by digest."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contract.base_model import Strict
from contract.paths import Digest
from images.files import write_whole
from images.layer import UnsafeLayer, check_names, read_layer, sha256
from images.oci import ImageDamaged, Repository

UNPACKED_LIMIT = 4 * 2**30  # bytes of one image's files; they pass through memory
HASHES = "files.sha256"  # of an unpacked folder, as `sha256sum --check` reads it


class ImageConfig(Strict):
    """How a container of the image is started."""

    env: dict[str, str]
    command: tuple[str, ...]
    labels: dict[str, str]


def unpack(repository: Repository, digest: str, folder: Path) -> ImageConfig:
    """Makes `folder` hold exactly the image's files, each blob verified.

    A folder from earlier is kept if every file in it is still right, else replaced whole. Raises ImageDamaged.
    """
    try:
        config, files = _read(repository, digest)
    except (KeyError, TypeError, ValueError):
        raise ImageDamaged(f"{repository.reference(digest)} names no image of layers; package the version again") from None
    hashes = "".join(f"{Digest(sha256(content)).hex}  {name}\n" for name, content in sorted(files.items()))
    expected = {**files, HASHES: hashes.encode()}
    if _content(folder) != expected:
        _replace(folder, expected)
    return ImageConfig(
        env=dict(pair.split("=", 1) for pair in config.get("Env", [])),
        command=config.get("Cmd", []),
        labels=config.get("Labels", {}),
    )


def _read(repository: Repository, digest: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The container's configuration, and the files of all layers: later ones cover earlier ones."""
    manifest = json.loads(repository.manifest(digest))
    config = json.loads(repository.blob(manifest["config"]["digest"]))
    files: dict[str, bytes] = {}
    left = UNPACKED_LIMIT
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        try:
            members = read_layer(repository.blob(layer["digest"]), diff_id, limit=left)
            check_names({**files, **members})
        except UnsafeLayer as error:
            raise ImageDamaged(
                f"layer {layer['digest']} of image {digest} is refused: {error}; package the version again"
            ) from None
        left -= sum(map(len, members.values()))
        files.update(members)
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
