"""A model's files and the server's code as one OCI image: the same input gives the same digest."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from contract.documents import Image
from contract.errors import BadData
from images.layer import OWNER, Layer, build_layer
from images.oci import CONFIG, LAYER, MANIFEST, Repository, canonical

COMMAND = ["python", "-m", "serving", "--model", "/models/current", "--host", "0.0.0.0", "--port", "8080"]  # noqa: S104  (a container's own network)


class NothingToPackage(BadData):
    """A part of the image is missing; nothing was stored."""


class Contents(NamedTuple):
    """What tells one image from another; `files` have relative names, such as model.onnx."""

    model: str
    version: int
    as_of: datetime
    files: Mapping[str, bytes]
    labels: Mapping[str, str]


def package(contents: Contents, serving: Path, repository: Repository) -> Image:
    """Blobs first, the name last: what has a name is complete."""
    model, version = contents.model, contents.version
    if not contents.files:
        raise NothingToPackage(f"version {version} of {model} has no files; clear its train task")
    base = build_layer(server_files(serving))
    top = build_layer({f"models/current/{name}": content for name, content in contents.files.items()})
    config = repository.put(CONFIG, canonical(_config(contents, [base, top])))
    layers = [repository.put(LAYER, layer.content) for layer in (base, top)]
    about = {"schemaVersion": 2, "mediaType": MANIFEST, "annotations": dict(contents.labels)}
    stored = repository.put(MANIFEST, canonical({**about, "config": config, "layers": layers}))
    repository.name(stored["digest"], f"v{version}")
    size = sum(each["size"] for each in (stored, config, *layers))
    reference = repository.reference(stored["digest"])
    return Image(
        model=model,
        version=version,
        as_of=contents.as_of,
        digest=stored["digest"],
        reference=reference,
        size=size,
        labels=dict(contents.labels),
    )


def server_files(serving: Path) -> dict[str, bytes]:
    """The code and the lock it was tested with, from `serving/`, and nothing else that lies there."""
    lock = serving / "requirements.lock"
    code = {f"app/serving/{path.relative_to(serving).as_posix()}": path.read_bytes() for path in serving.rglob("*.py")}
    if not code or not lock.exists():
        raise NothingToPackage(
            f"{serving} holds no server: its code and requirements.lock are wanted; check out the whole repository"
        )
    return {**code, "app/requirements.lock": lock.read_bytes()}


def _config(contents: Contents, layers: list[Layer]) -> dict[str, Any]:
    """`created` is `as_of`: the clock would make every retry another image."""
    as_of = contents.as_of
    aware = as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)
    env = {"MODEL_NAME": contents.model, "MODEL_VERSION": str(contents.version)}
    return {
        "created": aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": f"{OWNER}:{OWNER}",
            "Env": [f"{name}={value}" for name, value in sorted(env.items())],
            "Cmd": COMMAND,
            "WorkingDir": "/app",
            "Labels": dict(contents.labels),
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
