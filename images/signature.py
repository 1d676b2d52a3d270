"""Signatures of images as cosign writes and reads them: by a key, without a transparency log.

https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
"""

import base64
import json
import re
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from contract.documents import Image
from contract.errors import PermanentError
from images.oci import CONFIG, MANIFEST, Descriptor, Repository, canonical
from images.references import find

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
ANNOTATION = "dev.cosignproject.cosign/signature"
TYPE = "cosign container image signature"
VERDICT, FINGERPRINT = "retraining.verdict", "retraining.fingerprint"  # labels of an image
MAKE_ONE = "make one with openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
OTHER_CURVE = f"the key is not one for ECDSA on P-256: {MAKE_ONE}"


class Unsigned(PermanentError):
    """The image has no signature by a known key with its digest and annotations."""


class UnfitKey(PermanentError):
    """A key cannot be used to sign or verify."""


class Signature(NamedTuple):
    """`payload` is what was signed: the digest, and the annotations."""

    payload: bytes
    value: bytes


def annotations_of(image: Image) -> dict[str, str]:
    """What a signature covers besides the digest; a verifier derives the same from the document."""
    return {
        "model": image.model,
        "version": str(image.version),
        "verdict": image.label(VERDICT),
        "fingerprint": image.label(FINGERPRINT),
    }


def sign(repository: Repository, digest: str, key_pem: str, annotations: dict[str, str]) -> None:
    """Adds to the existing signatures, unless one by this key has the same payload: each new one would be other bytes."""
    key = _private_key(key_pem)
    payload = _payload(repository, digest, annotations)
    layers = _layers(repository, digest)
    if any(signature.payload == payload and _is_by(key.public_key(), signature) for signature in _signatures(repository, layers)):
        return
    value = base64.b64encode(key.sign(payload, ec.ECDSA(SHA256()))).decode()
    layers = [*layers, {**repository.put(PAYLOAD, payload), "annotations": {ANNOTATION: value}}]
    rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
    config = repository.put(CONFIG, canonical({"architecture": "", "os": "", "config": {}, "rootfs": rootfs}))
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    repository.name(repository.put(MANIFEST, canonical(manifest))["digest"], name_of(digest))


def verify(repository: Repository, digest: str, keys: tuple[str, ...], expected: dict[str, str]) -> None:
    """Raises Unsigned unless a signature by one of `keys` (PEM) is for this digest and has the `expected` annotations."""
    image = repository.reference(digest)
    signatures = _signatures(repository, _layers(repository, digest))
    if not signatures:
        raise Unsigned(f"{image} has no signature: set images.signing and clear the package task of its run")
    known = [_public_key(key) for key in keys]
    ours = [signature for signature in signatures if any(_is_by(key, signature) for key in known)]
    if not ours:
        raise Unsigned(
            f"{image} is signed ({len(signatures)}), but by none of the {len(keys)} known keys: clear the package task of its run, "
            f"or add the key that signed it to images.public_keys"
        )
    problems = [_problem(signature.payload, digest, expected) for signature in ours]
    if all(problems):
        raise Unsigned(f"the signature of {image} {problems[-1]}: find out who made it, and clear the package task of its run")


def name_of(digest: str) -> str:
    """Name of the manifest that holds the digest's signatures."""
    return f"{digest.replace(':', '-')}.sig"


class Verifier:
    """Refuses images without a signature by a known key; without known keys, every image is accepted."""

    def __init__(self, files: tuple[str, ...]) -> None:
        self._keys = tuple(_read(file) for file in files)
        self._verified: set[tuple[str, ...]] = set()

    def refuse(self, image: Image) -> None:
        """Raises Unsigned. A verified image is not verified again: its digest cannot change."""
        annotations = annotations_of(image)
        key = (image.reference, *annotations.values())
        if self._keys and key not in self._verified:
            repository, digest = find(image.reference)
            verify(repository, digest, self._keys, annotations)
            self._verified.add(key)


def _payload(repository: Repository, digest: str, annotations: dict[str, str]) -> bytes:
    name = repository.reference(digest).rpartition("@")[0].rpartition("://")[2]
    identity, image = {"docker-reference": name}, {"docker-manifest-digest": digest}
    return canonical({"critical": {"identity": identity, "image": image, "type": TYPE}, "optional": annotations})


def _problem(payload: bytes, digest: str, expected: dict[str, str]) -> str:
    """Why the payload is not for the digest and the `expected` annotations; empty if it is."""
    try:
        content = json.loads(payload)
        kind, named = content["critical"]["type"], content["critical"]["image"]["docker-manifest-digest"]
        annotations = dict(content.get("optional") or {})
    except (ValueError, KeyError, TypeError):
        return "has no readable payload"
    if (kind, named) != (TYPE, digest):
        return f"is for another digest, {named}"
    other = [name for name, value in expected.items() if annotations.get(name) != value]
    return f"says {other[0]} {annotations.get(other[0])!r} instead of {expected[other[0]]!r}" if other else ""


def _layers(repository: Repository, digest: str) -> list[Descriptor]:
    """One for each signature. Others may store anything under that name: what holds no signatures counts as none."""
    stored = repository.resolve(name_of(digest))
    try:
        layers = json.loads(repository.manifest(stored))["layers"] if stored else []
        return [layer for layer in layers if layer["mediaType"] == PAYLOAD and _value(layer)]
    except (ValueError, KeyError, TypeError):
        return []


def _value(layer: Descriptor) -> bytes:
    return base64.b64decode(layer["annotations"][ANNOTATION], validate=True)


def _signatures(repository: Repository, layers: list[Descriptor]) -> list[Signature]:
    return [Signature(repository.blob(layer["digest"]), _value(layer)) for layer in layers]


def _is_by(key: ec.EllipticCurvePublicKey, signature: Signature) -> bool:
    try:
        key.verify(signature.value, signature.payload, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _read(file: str) -> str:
    """Raises UnfitKey with the file's name: a key that cannot be used must be seen when the controller starts."""
    try:
        text = Path(file).read_text()
        _public_key(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UnfitKey(f"the public key {file} cannot be read ({error}); correct images.public_keys") from None
    except UnfitKey as error:
        raise UnfitKey(f"{file}: {error}; correct images.public_keys") from None
    return text


def _public_key(pem: str) -> ec.EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise UnfitKey("it is no public key (PEM); openssl pkey -in PRIVATE -pubout gives one") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UnfitKey(OTHER_CURVE)
    return key


def _private_key(pem: str) -> ec.EllipticCurvePrivateKey:
    """Never part of a message."""
    if "SIGSTORE" in pem or "COSIGN" in pem:
        raise UnfitKey(f"the signing key is encrypted as cosign alone can read it: {MAKE_ONE}, and put it into the connection")
    if "ENCRYPTED" in pem:
        raise UnfitKey("the signing key is encrypted: put what openssl pkey -in KEY writes into the connection")
    try:
        key = load_pem_private_key(_unfolded(pem).encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UnfitKey(f"the password of the connection that images.signing names is no private key (PEM): {MAKE_ONE}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UnfitKey(OTHER_CURVE)
    return key


def _unfolded(pem: str) -> str:
    """A form's password field, such as the Airflow UI's, drops line ends."""
    return re.sub(r"\s*(-----(?:BEGIN|END) [A-Z ]+-----)\s*", r"\n\1\n", pem.replace("\\n", "\n")).strip()
