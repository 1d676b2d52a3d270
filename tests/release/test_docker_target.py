"""What the target of containers says where it can start nothing; all that needs an engine is in test_target_contract.py."""

from pathlib import Path

import pytest

from contract.platform import ServingHost
from release.targets import docker
from release.targets.base import Server
from release.targets.docker import DockerTarget, EngineUnreachable

NOBODY = Server(model="late", digest="sha256:" + "0" * 64, url="http://127.0.0.1:1", name="late-0")


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DockerTarget:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    return DockerTarget(ServingHost(target="docker", home=str(tmp_path)))


def test_an_engine_that_does_not_answer_is_named_with_what_to_do(target: DockerTarget) -> None:
    with pytest.raises(EngineUnreachable, match=r"the container engine of this host failed: .*; start it, or see DOCKER_HOST"):
        target.servers()
    assert target.memory_mb(NOBODY) is None  # not known, which is no reason to fail


def test_a_host_without_a_free_port_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "is_free", lambda port: False)
    with pytest.raises(EngineUnreachable, match=r"no port of .* on 127\.0\.0\.1 is free; stop what uses them"):
        docker._free_port()
