"""A base that an engine built of serving/Dockerfile: packaged on, pulled and answering, hardened as in production."""

from datetime import UTC, datetime
from pathlib import Path

import docker
import httpx
import pytest

from images.base import NAME, NoBase, key_of, stored_base, tag_of, write_context
from images.package import Contents, package
from images.references import repository_of
from release.targets.docker import DockerTarget
from tests.release.engine import ROOTFS, ContainerHost
from tests.release.local import ROOT, STAND_IN, answers, until

pytestmark = pytest.mark.integration


def test_a_version_serves_on_a_base_that_an_engine_built(
    container_host: ContainerHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, host = tmp_path / "serving", container_host.registry.host
    code.mkdir()
    (code / "__main__.py").write_text(STAND_IN)
    (code / "requirements.lock").write_text("# nothing but Python, on a base of one's own\n")
    engine = docker.DockerClient(container_host.engine.address)
    own = f"{host}/own/python"
    engine.api.import_image_from_file(str(ROOTFS), repository=own, tag="3.11")
    engine.images.push(own, tag="3.11")
    rootfs = engine.images.get(f"{own}:3.11").attrs["RepoDigests"][0]
    bases = repository_of(f"{host}/own", NAME)
    with pytest.raises(NoBase, match=f"there is no serving base {host}/own/serving-base:{key_of(code, rootfs)} for this rootfs"):
        stored_base(code, rootfs, bases)

    write_context(code, tmp_path / "context", str(ROOT / ".venv/uv/bin/uv"))
    tag = tag_of(bases, key_of(code, rootfs))
    engine.images.build(
        path=str(tmp_path / "context"), dockerfile=str(ROOT / "serving/Dockerfile"), tag=tag, buildargs={"BASE": rootfs}
    )
    engine.images.push(tag)
    contents = Contents("own", 1, datetime(2013, 5, 1, tzinfo=UTC), {"model.json": b"{}"}, {})
    image = package(contents, stored_base(code, rootfs, bases), repository_of(f"{host}/own", "own"))

    monkeypatch.setenv("DOCKER_HOST", container_host.engine.address)
    target = DockerTarget(container_host.serving)
    until(lambda: (target.ensure(image, 1), target.servers())[1], "a server")
    url = target.servers()[0].url
    until(lambda: answers(url), "an answer")
    environment = httpx.get(f"{url}/environment").json()
    assert (environment["MODEL_VERSION"], environment["PYTHONPATH"]) == ("1", "/app/site-packages")
    container_host.engine.remove_all()
