"""Opens the repository of a platform's `images.repository`, or of an image's reference."""

from pathlib import Path

from images.addresses import address_of
from images.distribution import Registry
from images.layout import Layout
from images.login import AnyLogin, login_on_host
from images.oci import ImageDamaged, Repository, check_digest

FOLDER = "oci:"


def repository_of(name: str, model: str, login: AnyLogin | None = None) -> Repository:
    """Repository of one model below the platform's `images.repository`, which is «oci:FOLDER» or a name in a registry."""
    return _open(f"{name.rstrip('/')}/{model}", login)


def find(reference: str) -> tuple[Repository, str]:
    """Repository and digest of an image's reference, with this host's login. Raises ImageDamaged for a tag."""
    address, at, digest = reference.rpartition("@")
    if not at or "/" not in address:
        raise ImageDamaged(f"{reference!r} is no image reference such as oci:FOLDER@sha256:… or HOST/NAME@sha256:…")
    return _open(address, login_on_host(host_of(address))), check_digest(digest)


def host_of(name: str) -> str:
    """Host and port of the registry."""
    return name.rpartition("://")[2].partition("/")[0]


def _open(address: str, login: AnyLogin | None) -> Repository:
    if address.startswith(FOLDER):
        return Layout(Path(address.removeprefix(FOLDER)))
    return Registry(address_of(address), login)
