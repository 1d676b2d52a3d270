"""The fakes of the controller's neighbours keep the same rules as the real ones: each test runs with both."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from contract.documents import GoldenRows, Image
from contract.store.base import DocumentStore
from contract.store.local import LocalStore
from images.base import Base
from images.oci import RegistryTrouble
from images.package import Contents, package
from images.references import find, repository_of
from images.signature import Unsigned, Verifier, annotations_of, sign
from release.probes.golden_rows import HttpProbe
from release.registries.image_tags import RegistryTags
from release.registries.mlflow_alias import AliasUnknown, MlflowAlias
from release.targets.base import Alias, ImageTags, Proof, Server
from tests.release.fakes import FakeAlias, FakeProbe, FakeProof, FakeTags, MemoryStore, an_image
from tests.release.test_golden_rows import GOLDEN, right, serving
from tests.release.test_mlflow_alias import Mlflow

BOTH = ["fake", "real"]


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DocumentStore:
    return MemoryStore() if request.param == "fake" else LocalStore(str(tmp_path))


def test_the_first_to_create_a_file_wins(store: DocumentStore) -> None:
    assert [store.create("a/b.json", content) for content in (b"first", b"second")] == [True, False]
    assert (store.read("a/b.json"), store.read("a/c.json")) == (b"first", None)


def test_names_are_sorted_and_end_at_the_next_folder(store: DocumentStore) -> None:
    for path in ("a/z.json", "a/b/deep.json", "ab.json"):
        store.create(path, b"{}")

    assert (store.names("a"), store.names("nothing")) == (["b", "z.json"], [])


@pytest.fixture(params=BOTH)
def alias(request: pytest.FixtureRequest) -> Iterator[tuple[Alias, Callable[[], None]]]:
    """And what takes MLflow away."""
    if request.param == "fake":
        fake = FakeAlias()
        yield fake, lambda: setattr(fake, "down", True)
        return
    with Mlflow() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield MlflowAlias(server.url), lambda: setattr(server, "broken", True)
        server.shutdown()


def test_an_alias_is_where_it_was_last_set(alias: tuple[Alias, Callable[[], None]]) -> None:
    assert alias[0].get("late") is None
    for version in (3, 4):
        alias[0].set("late", version)
    assert alias[0].get("late") == 4


def test_an_alias_that_cannot_be_read_is_unknown(alias: tuple[Alias, Callable[[], None]]) -> None:
    alias[1]()
    with pytest.raises(AliasUnknown):
        alias[0].get("late")
    with pytest.raises(AliasUnknown):
        alias[0].set("late", 3)


@pytest.fixture(params=BOTH)
def tags(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ImageTags, Callable[[int], Image]]:
    """And what makes the image of a version."""
    return (FakeTags(), an_image) if request.param == "fake" else (RegistryTags(), lambda version: packaged(tmp_path, version))


def packaged(folder: Path, version: int) -> Image:
    contents = Contents("late", version, datetime(2026, 2, version, tzinfo=UTC), {"model.onnx": b"graph"}, {})
    repository = repository_of(f"oci:{folder}", "late")
    return package(contents, Base((), (), {}, "python", repository), repository)


def test_a_tag_moves_to_the_image_that_got_it_last(tags: tuple[ImageTags, Callable[[int], Image]]) -> None:
    registry, image_of = tags
    first, second = image_of(1), image_of(2)

    assert registry.get("production", first) is None
    assert registry.set("production", first)
    assert registry.set("production", second)
    assert registry.get("production", first) == second.digest


def test_a_registry_that_is_away_is_trouble() -> None:
    fake = FakeTags()
    fake.down = True
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    away = an_image(1).model_copy(update={"reference": f"http://127.0.0.1:{port}/late@{an_image(1).digest}"})
    for registry, image in ((fake, an_image(1)), (RegistryTags(), away)):
        with pytest.raises(RegistryTrouble):
            registry.set("production", image)


@pytest.fixture(params=BOTH)
def proof(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Proof, Image, Image]:
    """With a signed image and one that is not."""
    if request.param == "fake":
        fake = FakeProof()
        fake.unsigned.add(an_image(2).digest)
        return fake, an_image(1), an_image(2)
    signed, unsigned = packaged(tmp_path, 1), packaged(tmp_path, 2)
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    (tmp_path / "key.pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    sign(find(signed.reference)[0], signed.digest, private, annotations_of(signed))
    return Verifier((str(tmp_path / "key.pub"),)), signed, unsigned


def test_only_a_signed_image_is_proven(proof: tuple[Proof, Image, Image]) -> None:
    verifier, signed, unsigned = proof

    verifier.refuse(signed)
    with pytest.raises(Unsigned):
        verifier.refuse(unsigned)


@contextmanager
def probes() -> Iterator[list[tuple[HttpProbe | FakeProbe, Server, GoldenRows]]]:
    with serving(right) as server:
        yield [(FakeProbe(), server, GOLDEN), (HttpProbe(), server, GOLDEN)]


def test_a_right_server_is_ready_and_has_parity() -> None:
    with probes() as cases:
        for probe, server, golden in cases:
            assert probe.is_ready(server)
            result = probe.measure(server, golden)
            assert (result.parity, result.problem) == (0.0, "")
            assert result.p95_ms > 0


def test_a_replay_never_raises() -> None:
    with probes() as cases:
        for probe, server, golden in cases:
            assert probe.replay(server, [server], golden.columns).refused == 0
