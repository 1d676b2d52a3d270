"""A model's files on a base as one OCI image: the same input gives the same digest."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from contract.documents import Image
from contract.errors import PermanentError
from images.base import MACHINE, Base
from images.layer import OWNER, build_layer
from images.oci import CONFIG, LAYER, MANIFEST, Repository, canonical

SERVE = ["-m", "serving", "--model", "/models/current", "--host", "0.0.0.0", "--port", "8080"]  # noqa: S104  (a container's own network)


class NothingToPackage(PermanentError):
    """A part of the image is missing; nothing was stored."""


class Contents(NamedTuple):
    """What determines an image; `files` have relative names, such as model.onnx, `env` is the server's own."""

    model: str
    version: int
    as_of: datetime
    files: Mapping[str, bytes]
    labels: Mapping[str, str]
    env: Mapping[str, str] = {}


def package(contents: Contents, base: Base, repository: Repository) -> Image:
    """Blobs first, the name last: what has a name is complete."""
    model, version, labels = contents.model, contents.version, dict(contents.labels)
    if not contents.files:
        raise NothingToPackage(f"version {version} of {model} has no files; clear its train task")
    for layer in base.layers:
        repository.copy(layer, base.source)
    top = build_layer({f"models/current/{name}": content for name, content in contents.files.items()})
    layers = [*base.layers, repository.put(LAYER, top.content)]
    config = repository.put(CONFIG, canonical(_config(contents, base, top.diff_id)))
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "annotations": labels, "config": config, "layers": layers}
    stored = repository.put(MANIFEST, canonical(manifest))
    repository.confirm(manifest)
    repository.name(stored["digest"], f"v{version}")
    return Image(
        model=model,
        version=version,
        as_of=contents.as_of,
        digest=stored["digest"],
        reference=repository.reference(stored["digest"]),
        size=sum(blob["size"] for blob in (stored, config, *layers)),
        labels=labels,
    )


def _config(contents: Contents, base: Base, top: str) -> dict[str, Any]:
    """`created` is `as_of`: the clock would make every retry another image."""
    as_of = contents.as_of
    aware = as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)
    env = {**base.env, **contents.env, "MODEL_NAME": contents.model, "MODEL_VERSION": str(contents.version)}
    return {
        "created": aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "architecture": MACHINE,
        "os": "linux",
        "config": {
            "User": f"{OWNER}:{OWNER}",
            "Env": [f"{name}={value}" for name, value in sorted(env.items())],
            "Cmd": [base.python, *SERVE],
            "WorkingDir": "/app",
            "Labels": dict(contents.labels),
        },
        "rootfs": {"type": "layers", "diff_ids": [*base.diff_ids, top]},
    }
