"""What every Target promises, asked of the real one and of the fake that other tests stand on."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from contract.documents import Image
from contract.errors import PermanentError
from release.targets.base import Server, Target
from release.targets.process import ProcessTarget
from tests.release.fakes import FakeTarget, an_image
from tests.release.local import LocalHost, until


class Bench(NamedTuple):
    target: Target
    image: Callable[[int], Image]
    damage: Callable[[Image], None]
    start_in_vain: Callable[[int], Image]  # a version whose server crashes until it is given up

    def running(self, image: Image) -> list[Server]:
        return [server for server in self.target.servers() if (server.model, server.digest) == (image.model, image.digest)]

    def ensure(self, image: Image, count: int) -> list[Server]:
        """Asked each turn, as the controller does: what is just leaving does not start again before it has left."""
        until(lambda: self.target.ensure(image, count) or len(self.running(image)) == count, f"{count} servers run")
        return self.running(image)


@pytest.fixture(params=["fake", "processes", pytest.param("containers", marks=pytest.mark.integration)])
def bench(request, monkeypatch) -> Bench:
    if request.param == "fake":
        target = FakeTarget()
        yield Bench(target, an_image, lambda image: target.damaged.add(image.digest), lambda version: crash(target, version))
        return
    if request.param == "processes":
        host = request.getfixturevalue("host")
        target, damage = ProcessTarget(host.serving), flip_a_bit
    else:
        from release.targets.docker import DockerTarget

        host = request.getfixturevalue("container_host")
        monkeypatch.setenv("DOCKER_HOST", host.engine.address)
        target, damage = DockerTarget(host.serving), lose_the_manifest

    def stillborn(version: int) -> Image:
        image = host.image(version, "target", stillborn=True)
        until(lambda: target.ensure(image, 1) or target.digests("target"), "it was started")
        until(lambda: target.digests("target") and not bench.running(image), "it has crashed")
        return image

    bench = Bench(target, lambda version: host.image(version, "target"), lambda image: damage(host, image), stillborn)
    yield bench
    until(lambda: not gone(target, "target"), "all are gone", seconds=40)


def gone(target: Target, model: str) -> set[str]:
    for digest in target.digests(model):
        target.stop(model, digest)
    return target.digests(model)


def crash(target: FakeTarget, version: int) -> Image:
    image = an_image(version)
    target.ensure(image, 1)
    target.crash(image.digest)
    return image


def flip_a_bit(host: LocalHost, image: Image) -> None:
    blob = Path(host.platform.images.repository.removeprefix("oci:"), image.model, "blobs/sha256", image.digest[7:])
    blob.chmod(0o644)
    blob.write_bytes(bytes([blob.read_bytes()[0] ^ 1]) + blob.read_bytes()[1:])


def lose_the_manifest(host: Any, image: Image) -> None:
    revisions = host.registry.home / f"data/docker/registry/v2/repositories/models/{image.model}/_manifests/revisions/sha256"
    shutil.rmtree(revisions / image.digest[7:])


def test_as_many_servers_run_as_were_asked_for_each_at_its_own_address(bench):
    image = bench.image(1)

    servers = bench.ensure(image, 3)

    assert {(server.model, server.digest) for server in servers} == {(image.model, image.digest)}
    assert len({server.url for server in servers}) == len({server.name for server in servers}) == 3


def test_asking_again_changes_nothing(bench):
    servers = bench.ensure(bench.image(1), 2)

    assert bench.ensure(bench.image(1), 2) == servers


def test_what_is_too_many_stops_and_the_others_stay(bench):
    three = bench.ensure(bench.image(1), 3)

    (one,) = bench.ensure(bench.image(1), 1)

    assert one in three


def test_what_is_missing_is_added_to_what_runs(bench):
    one = bench.ensure(bench.image(1), 1)

    two = bench.ensure(bench.image(1), 2)

    assert set(one) < set(two)


def test_stopping_a_digest_leaves_the_others_alone_and_may_be_repeated(bench):
    old, new = bench.image(1), bench.image(2)
    bench.ensure(old, 2)
    kept = bench.ensure(new, 1)

    for _ in range(2):
        bench.target.stop(old.model, old.digest)

    until(lambda: not bench.running(old), "the old ones are gone")
    assert bench.running(new) == kept


def test_what_has_crashed_is_known_until_it_is_stopped(bench):
    image = bench.start_in_vain(1)
    assert bench.target.digests(image.model) == {image.digest}

    until(lambda: bench.target.stop(image.model, image.digest) or not bench.target.digests(image.model), "it is forgotten")

    assert bench.target.digests(image.model) == set()
    assert bench.running(image) == []


def test_a_stopped_digest_may_start_again(bench):
    image = bench.image(1)
    bench.ensure(image, 1)
    bench.target.stop(image.model, image.digest)
    until(lambda: not bench.running(image), "it is gone")

    until(lambda: bench.target.ensure(image, 1) or bench.running(image), "it runs again")

    assert len(bench.running(image)) == 1


def test_a_damaged_image_is_refused_and_nothing_starts(bench):
    image = bench.image(3)
    bench.damage(image)

    with pytest.raises(PermanentError, match=image.digest[7:]):
        until(lambda: bench.target.ensure(image, 1), "it is refused")
    assert bench.running(image) == []


def test_memory_is_known_while_a_server_runs_and_not_after(bench):
    (server,) = bench.ensure(bench.image(1), 1)

    assert 0 < bench.target.memory_mb(server) < 500

    bench.target.stop(server.model, server.digest)
    until(lambda: bench.target.memory_mb(server) is None, "it is unknown")
