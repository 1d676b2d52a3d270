"""What an OCI image is made of, and what every place that keeps images can do."""

import json
from typing import Any, Protocol

from contract.errors import BadData, RetrainingError
from images.layer import sha256

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS, INDEXES = (MANIFEST, DOCKER_MANIFEST), (INDEX, DOCKER_INDEX)

Descriptor = dict[str, Any]  # mediaType, digest, size


class ImageDamaged(BadData):
    """What is stored is not what the digest names; nothing of it may be served."""


class RegistryTrouble(RetrainingError):
    """The registry does not answer, or not as it should: a later try may pass."""


class RegistryRefused(BadData):
    """The registry understood and said no."""


class Repository(Protocol):
    """Where the images of one model lie. Whatever is read is checked against its digest; a name can be moved, a digest cannot."""

    def put(self, media_type: str, content: bytes) -> Descriptor:
        """Stores a blob or a manifest; what is there already is not sent again."""

    def copy(self, descriptor: Descriptor, source: "Repository") -> None:
        """A blob of another repository becomes one of this."""

    def blob(self, digest: str) -> bytes:
        """Raises ImageDamaged where it is missing or another."""

    def manifest(self, digest: str) -> bytes:
        """Raises ImageDamaged where it is missing or another."""

    def confirm(self, manifest: dict[str, Any]) -> None:
        """Sees that every blob of it is there, once more, before it gets a name."""

    def name(self, digest: str, name: str) -> None:
        """The manifest of this digest gets the name, and no other has it any more."""

    def named(self, name: str) -> str | None:
        """The digest that has this name now; None where nothing has."""

    def names(self) -> dict[str, str]:
        """Name: digest."""

    def delete(self, digest: str) -> None:
        """The manifest goes, with all its names; what is gone already is no failure."""

    def reference(self, digest: str) -> str:
        """What Image.reference says."""


def canonical(value: Any) -> bytes:
    """JSON whose bytes depend on nothing but the value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def as_oci(layer: Descriptor) -> Descriptor:
    """Docker's own name for the same bytes has no place in an OCI manifest."""
    return {**layer, "mediaType": LAYER} if layer["mediaType"] == DOCKER_LAYER else layer


def descriptor(media_type: str, content: bytes) -> Descriptor:
    return {"mediaType": media_type, "digest": sha256(content), "size": len(content)}


def check_digest(digest: str) -> str:
    """The digest itself. Raises ImageDamaged for anything else than a sha256."""
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise ImageDamaged(f"{digest!r} is no sha256 digest; images are named by digest only")
    return digest
