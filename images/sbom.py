"""SBOM (CycloneDX 1.6) of an image's packages layer, attached to the image in its repository."""

import re
from typing import Any

from images.oci import MANIFEST, Descriptor, Repository, canonical

ARTIFACT = "application/vnd.cyclonedx+json"
EMPTY = "application/vnd.oci.empty.v1+json"
REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def sbom_of(lock: str, rootfs: str) -> dict[str, Any]:
    """One component for each locked package, with the hashes of the files that the lock allows; and the system, by digest."""
    digest = rootfs.rpartition("@")[2]
    system = {
        "type": "operating-system",
        "name": rootfs.rpartition("/")[2].partition("@")[0],
        "version": digest,
        "bom-ref": "system",
    }
    components = [_component(name, version, HASH.findall(rest)) for name, version, rest in REQUIREMENT.findall(lock)]
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": [system, *components]}


def attach_sbom(repository: Repository, subject: Descriptor, lock: str, rootfs: str) -> None:
    """As an artifact that names its subject, and under the name that tools look for where a registry lists no referrers."""
    content = repository.put(ARTIFACT, canonical(sbom_of(lock, rootfs)))
    artifact = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": repository.put(EMPTY, b"{}"),
        "layers": [content],
        "subject": subject,
    }
    stored = repository.put(MANIFEST, canonical(artifact))
    repository.name(stored["digest"], f"{subject['digest'].replace(':', '-')}.sbom")


def _component(name: str, version: str, hashes: list[str]) -> dict[str, Any]:
    """A lock allows several files of one version: their hashes are of its distributions, for the package has no single one."""
    purl = f"pkg:pypi/{name.lower()}@{version}"
    files = [{"type": "distribution", "url": purl, "hashes": [{"alg": "SHA-256", "content": value}]} for value in hashes]
    return {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl, "externalReferences": files}
