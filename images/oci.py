"""Media types and descriptors of OCI images, and the interface of their repositories."""

import json
from typing import Any, Protocol

from contract.errors import PermanentError, TransientError
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


class ImageDamaged(PermanentError):
    """Stored bytes do not match their digest, or are missing; nothing of the image may be served."""


class RegistryTrouble(TransientError):
    """The registry does not answer, or not as it should: a later try may succeed."""


class RegistryRefused(PermanentError):
    """The registry refused the request: a retry does not change that."""


class Repository(Protocol):
    """The images of one model. Everything read is verified by its digest; a name can be moved, a digest cannot."""

    def put(self, media_type: str, content: bytes) -> Descriptor:
        """Stores a blob or a manifest; what is there already is not sent again."""

    def copy(self, descriptor: Descriptor, source: "Repository") -> None:
        """Copies a blob of another repository into this one."""

    def blob(self, digest: str) -> bytes:
        """Raises ImageDamaged if it is missing or altered."""

    def manifest(self, digest: str) -> bytes:
        """Raises ImageDamaged if it is missing or altered."""

    def confirm(self, manifest: dict[str, Any]) -> None:
        """Checks once more that every blob of it is stored, before it gets a name."""

    def name(self, digest: str, name: str) -> None:
        """Gives the name to this digest's manifest, and takes it from any other."""

    def resolve(self, name: str) -> str | None:
        """The digest that has this name now; None if there is none."""

    def names(self) -> dict[str, str]:
        """Name: digest."""

    def delete(self, digest: str) -> None:
        """Deletes the manifest with all its names; an absent one is no failure."""

    def reference(self, digest: str) -> str:
        """Value of `Image.reference` for this digest."""


def canonical(value: Any) -> bytes:
    """JSON whose bytes depend on nothing but the value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def as_oci(layer: Descriptor) -> Descriptor:
    """With OCI's media type in place of Docker's for the same bytes, as an OCI manifest requires."""
    return {**layer, "mediaType": LAYER} if layer["mediaType"] == DOCKER_LAYER else layer


def descriptor(media_type: str, content: bytes) -> Descriptor:
    return {"mediaType": media_type, "digest": sha256(content), "size": len(content)}


def check_digest(digest: str) -> str:
    """The digest itself. Raises ImageDamaged for anything else than a sha256."""
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise ImageDamaged(f"{digest!r} is no sha256 digest; images are named by digest only")
    return digest
