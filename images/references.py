"""From a name of a platform file, or of an image, to the repository that it means."""

from pathlib import Path

from images.distribution import Registry, address_of
from images.layout import Layout
from images.login import Who, login_on_host
from images.oci import ImageDamaged, Repository, check_digest

FOLDER = "oci:"


def repository_of(name: str, model: str, login: Who | None = None) -> Repository:
    """Of one model, below what `images.repository` of the platform says: a folder of «oci:FOLDER», or a name in a registry."""
    return _open(f"{name.rstrip('/')}/{model}", login)


def find(reference: str) -> tuple[Repository, str]:
    """Repository and digest of an image's reference, asked as who is logged in on this host. Raises ImageDamaged for a tag."""
    address, at, digest = reference.rpartition("@")
    if not at or "/" not in address:
        raise ImageDamaged(f"{reference!r} is no image reference; oci:FOLDER@sha256:… or HOST/NAME@sha256:… is wanted")
    return _open(address, login_on_host(host_of(address))), check_digest(digest)


def host_of(name: str) -> str:
    """The registry's, with its port."""
    return name.rpartition("://")[2].partition("/")[0]


def _open(address: str, login: Who | None) -> Repository:
    if address.startswith(FOLDER):
        return Layout(Path(address.removeprefix(FOLDER)))
    return Registry(address_of(address), login)
