"""A model's files and the server's code as one OCI image: the same input gives the same digest."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contract.documents import Image
from contract.errors import BadData
from images.layer import OWNER, Layer, build_layer
from images.layout import CONFIG, LAYER, MANIFEST, Layout, canonical

COMMAND = ["python", "-m", "serving", "--model", "/models/current", "--host", "0.0.0.0", "--port", "8080"]  # noqa: S104  (a container's own network)


class NothingToPackage(BadData):
    """A part of the image is missing; nothing was stored."""


def package(
    *, model: str, version: int, as_of: datetime, files: Mapping[str, bytes], serving: Path, repository: str, labels: dict[str, str]
) -> Image:
    """Stores the image in the layout folder of `repository` («oci:FOLDER»); `files` have relative names, such as model.onnx."""
    if not files:
        raise NothingToPackage(f"version {version} of {model} has no files; clear its train task")
    kind, _, folder = repository.partition(":")
    if kind != "oci":
        raise NothingToPackage(f"images.repository {repository} is not supported yet; write oci:FOLDER")
    base = build_layer(_server_files(serving))
    top = build_layer({f"models/current/{name}": content for name, content in files.items()})
    env = {"MODEL_NAME": model, "MODEL_VERSION": str(version)}
    config = _config(as_of, [base, top], env, labels)
    return _store(Layout(Path(folder)), config, [base, top], model=model, version=version, as_of=as_of, labels=labels)


def _server_files(serving: Path) -> dict[str, bytes]:
    """The code and the lock it was tested with, from `serving/`, and nothing else that lies there."""
    lock = serving / "requirements.lock"
    code = {f"app/serving/{path.relative_to(serving).as_posix()}": path.read_bytes() for path in serving.rglob("*.py")}
    if not code or not lock.exists():
        raise NothingToPackage(
            f"{serving} holds no server: its code and requirements.lock are wanted; check out the whole repository"
        )
    return {**code, "app/requirements.lock": lock.read_bytes()}


def _config(as_of: datetime, layers: list[Layer], env: dict[str, str], labels: dict[str, str]) -> dict[str, Any]:
    """`created` is `as_of`: the clock would make every retry another image."""
    aware = as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)
    return {
        "created": aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": f"{OWNER}:{OWNER}",
            "Env": [f"{name}={value}" for name, value in sorted(env.items())],
            "Cmd": COMMAND,
            "WorkingDir": "/app",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }


def _store(
    layout: Layout,
    config: dict[str, Any],
    layers: list[Layer],
    *,
    model: str,
    version: int,
    as_of: datetime,
    labels: dict[str, str],
) -> Image:
    """Blobs first, the index last: what has a name is complete."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layout.put(CONFIG, canonical(config)),
        "layers": [layout.put(LAYER, layer.content) for layer in layers],
        "annotations": labels,
    }
    stored = layout.put(MANIFEST, canonical(manifest))
    layout.name(stored, f"{model}-v{version}")
    size = stored["size"] + manifest["config"]["size"] + sum(layer["size"] for layer in manifest["layers"])
    reference = f"oci:{layout.folder}@{stored['digest']}"
    return Image(model=model, version=version, as_of=as_of, digest=stored["digest"], reference=reference, size=size, labels=labels)
