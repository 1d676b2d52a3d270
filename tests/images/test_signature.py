"""Signatures of images, and everything that does not count as one."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from contract.documents import Image
from images.layout import Layout
from images.oci import CONFIG, LAYER, MANIFEST, canonical
from images.signature import PAYLOAD, UnfitKey, Unsigned, Verifier, annotations_of, name_of, sign, verify

SAID = {"model": "late", "version": "3", "verdict": "promote", "fingerprint": "f1"}


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, how: KeySerializationEncryption | None = None) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how or NoEncryption()).decode()


def public(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


OURS, OLDER, THEIRS = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "models" / "late")


def stored(layout: Layout, content: bytes = b"layer") -> str:
    config, layer = layout.put(CONFIG, b"{}"), layout.put(LAYER, content)
    digest = layout.put(MANIFEST, canonical({"config": config, "layers": [layer]}))["digest"]
    layout.name(digest, f"v{len(layout.names()) + 1}")
    return digest


def signatures(layout: Layout, digest: str) -> list[dict]:
    return json.loads(layout.manifest(layout.names()[name_of(digest)]))["layers"]


def test_a_signed_image_is_accepted_as_what_it_was_signed_as(layout: Layout) -> None:
    digest = stored(layout)
    sign(layout, digest, pem(OURS), SAID)

    verify(layout, digest, (public(OLDER), public(OURS)), SAID)
    verify(layout, digest, (public(OURS),), {"model": "late"})
    verify(layout, digest, (public(OURS),), {})


def test_what_is_signed_is_the_digest_and_the_annotations_where_other_tools_look_for_them(layout: Layout) -> None:
    digest = stored(layout)
    sign(layout, digest, pem(OURS), {"model": "late"})

    (layer,) = signatures(layout, digest)
    assert name_of(digest) == f"sha256-{digest[7:]}.sig"
    assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    assert layer["annotations"].keys() == {"dev.cosignproject.cosign/signature"}
    assert json.loads(layout.blob(layer["digest"])) == {
        "critical": {
            "identity": {"docker-reference": f"oci:{layout.folder}"},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": {"model": "late"},
    }


def test_signing_again_adds_nothing_and_another_key_or_another_annotation_does(layout: Layout) -> None:
    digest = stored(layout)
    sign(layout, digest, pem(OLDER), SAID)
    sign(layout, digest, pem(OURS), SAID)
    before = layout.names()

    sign(layout, digest, pem(OLDER), SAID)
    sign(layout, digest, pem(OURS), SAID)

    assert layout.names() == before
    assert len(signatures(layout, digest)) == 2
    for key in (OLDER, OURS):
        verify(layout, digest, (public(key),), SAID)
    sign(layout, digest, pem(OURS), {**SAID, "verdict": "inconclusive"})
    assert len(signatures(layout, digest)) == 3


def test_an_image_without_a_signature_is_refused(layout: Layout) -> None:
    digest = stored(layout)

    with pytest.raises(Unsigned, match=rf"late@{digest} has no signature: set images.signing and clear the package task"):
        verify(layout, digest, (public(OURS),), SAID)


def test_a_signature_by_nobody_known_is_refused(layout: Layout) -> None:
    digest = stored(layout)
    sign(layout, digest, pem(THEIRS), SAID)

    for keys in ((public(OURS), public(OLDER)), ()):
        with pytest.raises(Unsigned, match=rf"is signed \(1\), but by none of the {len(keys)} known keys: clear the package"):
            verify(layout, digest, keys, SAID)


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        ({**SAID, "version": "4"}, "says version '3' instead of '4'"),
        ({**SAID, "model": "early"}, "says model 'late' instead of 'early'"),
        ({**SAID, "team": "a"}, "says team None instead of 'a'"),
    ],
)
def test_a_signature_for_something_else_is_refused(layout: Layout, expected: dict[str, str], reason: str) -> None:
    digest = stored(layout)
    sign(layout, digest, pem(OURS), SAID)

    with pytest.raises(Unsigned, match=reason):
        verify(layout, digest, (public(OURS),), expected)


def test_a_signature_moved_from_another_image_is_refused(layout: Layout) -> None:
    digest, other = stored(layout), stored(layout, b"other")
    sign(layout, other, pem(OURS), SAID)
    layout.name(layout.names()[name_of(other)], name_of(digest))

    with pytest.raises(Unsigned, match=f"is for another digest, {other}"):
        verify(layout, digest, (public(OURS),), SAID)


def test_an_annotation_that_was_altered_is_signed_by_nobody(layout: Layout) -> None:
    digest = stored(layout)
    sign(layout, digest, pem(OURS), SAID)
    (layer,) = signatures(layout, digest)
    forged = layout.blob(layer["digest"]).replace(b'"3"', b'"4"')
    put_signatures(layout, digest, [{**layer, **layout.put(PAYLOAD, forged)}])

    with pytest.raises(Unsigned, match="by none of the 1 known keys"):
        verify(layout, digest, (public(OURS),), {**SAID, "version": "4"})


def put_signatures(layout: Layout, digest: str, layers: object) -> None:
    manifest = layout.put(MANIFEST, canonical({"config": layout.put(CONFIG, b"{}"), "layers": layers}))
    layout.name(manifest["digest"], name_of(digest))


class Foreign(Layout):
    """A repository with arbitrary content under the name of the signatures."""

    def __init__(self, folder: Path, manifest: bytes) -> None:
        super().__init__(folder)
        self._manifest = manifest

    def resolve(self, name: str) -> str:
        return f"sha256:{'0' * 64}"

    def manifest(self, digest: str) -> bytes:
        return self._manifest if digest.endswith("000") else super().manifest(digest)


HERE = {"mediaType": PAYLOAD, "digest": "sha256:0"}


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"{}",
        canonical({"layers": []}),
        canonical({"layers": ["a"]}),
        canonical({"layers": [{}]}),
        canonical({"layers": [HERE]}),
        canonical({"layers": [{**HERE, "annotations": None}]}),
        canonical({"layers": [{**HERE, "annotations": {"dev.cosignproject.cosign/signature": 1}}]}),
        canonical({"layers": [{**HERE, "annotations": {"dev.cosignproject.cosign/signature": "not base64"}}]}),
        canonical({"layers": [{**HERE, "mediaType": LAYER, "annotations": {"dev.cosignproject.cosign/signature": "AAAA"}}]}),
    ],
)
def test_what_is_no_signature_counts_as_none_and_is_replaced_by_one(layout: Layout, manifest: bytes) -> None:
    digest = stored(layout)
    foreign = Foreign(layout.folder, manifest)

    with pytest.raises(Unsigned, match="has no signature"):
        verify(foreign, digest, (public(OURS),), SAID)
    sign(foreign, digest, pem(OURS), SAID)
    verify(layout, digest, (public(OURS),), SAID)


@pytest.mark.parametrize("payload", [b"", b"[]", b'"a"', b'{"critical": {}}', b'{"critical": {"type": "t", "image": []}}'])
def test_a_payload_that_says_nothing_is_refused_though_it_is_signed(layout: Layout, payload: bytes) -> None:
    digest = stored(layout)
    value = base64.b64encode(OURS.sign(payload, ec.ECDSA(ec.hashes.SHA256()))).decode()
    put_signatures(layout, digest, [{**layout.put(PAYLOAD, payload), "annotations": {"dev.cosignproject.cosign/signature": value}}])

    with pytest.raises(Unsigned, match="has no readable payload"):
        verify(layout, digest, (public(OURS),), SAID)


@pytest.mark.parametrize(
    "folded",
    [
        lambda text: text.replace("\n", ""),
        lambda text: text.replace("\n", " "),
        lambda text: text.replace("\n", "\\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: f"\n  {text}",
    ],
)
def test_a_key_that_lost_its_line_ends_in_a_form_is_still_one(layout: Layout, folded) -> None:
    digest = stored(layout)

    sign(layout, digest, folded(pem(OURS)), SAID)

    verify(layout, digest, (public(OURS),), SAID)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (pem(OURS, BestAvailableEncryption(b"secret")), "is encrypted: put what openssl pkey -in KEY writes"),
        (
            "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\neyJrZGYi\n",
            "as cosign alone can read it: make one with openssl genpkey",
        ),
        (pem(rsa.generate_private_key(65537, 2048)), "is not one for ECDSA on P-256: make one with openssl"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "is not one for ECDSA on P-256"),
        (public(OURS), "is no private key"),
        ("", "is no private key"),
        ("correct horse", "is no private key"),
    ],
)
def test_a_key_that_cannot_sign_is_told_without_showing_it(layout: Layout, key: str, reason: str) -> None:
    with pytest.raises(UnfitKey, match=reason) as raised:
        sign(layout, stored(layout), key, SAID)

    assert (key[30:60] or "horse") not in str(raised.value)


# The verifier.


def an_image(layout: Layout, **changed) -> Image:
    digest = stored(layout)
    labels = {"retraining.run": "r", "retraining.verdict": "promote", "retraining.fingerprint": "f1"}
    image = Image(
        model="late", version=3, as_of=datetime(2013, 5, 1, tzinfo=UTC), digest=digest, reference="", size=1, labels=labels
    )
    return image.model_copy(update={"reference": layout.reference(digest), **changed})


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, ...]:
    for name, key in (("old.pub", OLDER), ("new.pub", OURS)):
        (tmp_path / name).write_text(public(key))
    return str(tmp_path / "old.pub"), str(tmp_path / "new.pub")


def test_the_document_of_an_image_says_all_that_its_signature_must(layout: Layout) -> None:
    assert annotations_of(an_image(layout)) == {"model": "late", "version": "3", "verdict": "promote", "fingerprint": "f1"}
    assert annotations_of(an_image(layout, labels={})) == {"model": "late", "version": "3", "verdict": "", "fingerprint": ""}


def test_who_knows_no_key_accepts_every_image(layout: Layout) -> None:
    Verifier(()).refuse(an_image(layout))


def test_who_knows_keys_refuses_what_none_of_them_signed(layout: Layout, keys: tuple[str, ...]) -> None:
    verifier, image = Verifier(keys), an_image(layout)

    with pytest.raises(Unsigned, match="has no signature"):
        verifier.refuse(image)
    sign(layout, image.digest, pem(OURS), annotations_of(image))
    verifier.refuse(image)
    with pytest.raises(Unsigned, match="says version '3' instead of '4'"):
        verifier.refuse(image.model_copy(update={"version": 4}))
    with pytest.raises(Unsigned, match="says verdict 'promote' instead of 'keep'"):
        verifier.refuse(image.model_copy(update={"labels": {**image.labels, "retraining.verdict": "keep"}}))


def test_what_was_found_signed_is_not_asked_for_again(layout: Layout, keys: tuple[str, ...], tmp_path: Path) -> None:
    verifier, image = Verifier(keys), an_image(layout)
    sign(layout, image.digest, pem(OLDER), annotations_of(image))
    verifier.refuse(image)

    layout.folder.rename(tmp_path / "gone")

    verifier.refuse(image)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, r"the public key .*wrong.pub cannot be read .*; correct images.public_keys"),
        (b"\xff\xfe", r"wrong.pub cannot be read"),
        (b"not a key", r"wrong.pub: it is no public key \(PEM\).*; correct images.public_keys"),
        (public(rsa.generate_private_key(65537, 2048)).encode(), r"wrong.pub: the key is not one for ECDSA on P-256"),
        (pem(OURS).encode(), r"wrong.pub: it is no public key \(PEM\); openssl pkey -in PRIVATE -pubout gives one"),
    ],
)
def test_a_key_file_that_is_none_is_told_at_the_start(
    keys: tuple[str, ...], tmp_path: Path, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "wrong.pub").write_bytes(content)

    with pytest.raises(UnfitKey, match=reason):
        Verifier((*keys, str(tmp_path / "wrong.pub")))
