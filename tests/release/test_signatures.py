"""Our signatures and cosign's: each reads what the other writes, in a real registry."""

import os
import subprocess
from pathlib import Path

import pytest

from images.oci import CONFIG, LAYER, MANIFEST, Repository, canonical
from images.references import repository_of
from images.signature import UnfitKey, Unsigned, sign, verify
from tests.release.registry import LocalRegistry, cosign_program

pytestmark = pytest.mark.integration
SAID = {"model": "late", "version": "3", "verdict": "promote", "fingerprint": "f1"}
NO_LOG = ("--allow-insecure-registry", "--insecure-ignore-tlog=true", "--private-infrastructure")


class Cosign:
    """The program, with a key pair of its own and one made with openssl in its folder."""

    def __init__(self, program: Path, home: Path) -> None:
        self._program, self._home = str(program), home
        self("generate-key-pair")
        for command in (
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out our.key",
            "pkey -in our.key -pubout -out our.pub",
        ):
            subprocess.run(["openssl", *command.split()], cwd=home, check=True, capture_output=True)

    def __call__(self, *words: str) -> subprocess.CompletedProcess:
        env = {**os.environ, "COSIGN_PASSWORD": "", "HOME": str(self._home)}
        return subprocess.run([self._program, *words], cwd=self._home, env=env, capture_output=True, text=True)

    def signs(self, reference: str, said: dict[str, str]) -> None:
        done = self(
            "sign",
            "--yes",
            "--key",
            "cosign.key",
            "--tlog-upload=false",
            "--allow-insecure-registry",
            *identity_options(said),
            reference,
        )
        assert done.returncode == 0, done.stderr

    def verifies(self, reference: str, said: dict[str, str], key: str = "our.pub") -> str:
        """Empty, or why not."""
        done = self("verify", "--key", key, *NO_LOG, *identity_options(said), reference)
        return "" if done.returncode == 0 else done.stderr

    def key(self, name: str) -> str:
        return (self._home / name).read_text()


def identity_options(said: dict[str, str]) -> list[str]:
    return [word for name, value in said.items() for word in ("-a", f"{name}={value}")]


@pytest.fixture(scope="module")
def cosign(tmp_path_factory: pytest.TempPathFactory) -> Cosign:
    return Cosign(cosign_program(), tmp_path_factory.mktemp("keys"))


@pytest.fixture
def repository(registry: LocalRegistry, tmp_path: Path) -> Repository:
    return repository_of(f"{registry.host}/{tmp_path.name.replace('_', '-').lower()}", "late")


@pytest.fixture
def digest(repository: Repository) -> str:
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": repository.put(CONFIG, canonical(config))}
    return repository.put(MANIFEST, canonical({**manifest, "layers": [repository.put(LAYER, b"layer")]}))["digest"]


def test_cosign_accepts_what_we_signed_and_nothing_else(cosign: Cosign, repository: Repository, digest: str) -> None:
    reference = repository.reference(digest)
    assert "no signatures found" in cosign.verifies(reference, SAID)

    sign(repository, digest, cosign.key("our.key"), SAID)

    assert cosign.verifies(reference, SAID) == ""
    assert cosign.verifies(reference, {}) == ""
    assert "missing or incorrect annotation" in cosign.verifies(reference, {**SAID, "version": "4"})
    assert "invalid signature" in cosign.verifies(reference, SAID, key="cosign.pub")


def test_we_accept_what_cosign_signed_and_nothing_else(cosign: Cosign, repository: Repository, digest: str) -> None:
    cosign.signs(repository.reference(digest), SAID)

    verify(repository, digest, (cosign.key("our.pub"), cosign.key("cosign.pub")), SAID)
    with pytest.raises(Unsigned, match="says version '3' instead of '4'"):
        verify(repository, digest, (cosign.key("cosign.pub"),), {**SAID, "version": "4"})
    with pytest.raises(Unsigned, match="by none of the 1 known keys"):
        verify(repository, digest, (cosign.key("our.pub"),), SAID)


@pytest.mark.parametrize("first", ["cosign", "ours"])
def test_while_a_key_is_replaced_both_signatures_are_there(cosign: Cosign, repository: Repository, digest: str, first: str) -> None:
    reference = repository.reference(digest)
    signing = [lambda: cosign.signs(reference, SAID), lambda: sign(repository, digest, cosign.key("our.key"), SAID)]
    for signer in signing if first == "cosign" else reversed(signing):
        signer()

    for name in ("our.pub", "cosign.pub"):
        assert cosign.verifies(reference, SAID, key=name) == ""
        verify(repository, digest, (cosign.key(name),), SAID)


def test_a_key_of_cosign_s_own_kind_is_told_and_never_used(cosign: Cosign, repository: Repository, digest: str) -> None:
    with pytest.raises(UnfitKey, match="as cosign alone can read it"):
        sign(repository, digest, cosign.key("cosign.key"), SAID)
