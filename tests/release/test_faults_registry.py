"""A registry killed with −9 in the middle of a push: nothing incomplete has a name, and the next try ends with the same digest."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from contract.documents import Image
from images.addresses import address_of
from images.base import embedded_base
from images.distribution import Registry, RegistryTrouble
from images.layout import Layout
from images.oci import Repository
from images.package import Contents, package
from images.references import find
from images.unpacked import unpack
from tests.release.registry import Answer, Front, LocalRegistry, skip_without_registry
from tests.release.test_image_repositories import WRITTEN

pytestmark = pytest.mark.integration
STEPS = {
    "upload": ("POST", "/blobs/uploads/"),
    "blob": ("PUT", "/blobs/uploads/"),
    "manifest": ("PUT", "/manifests/sha256:"),
    "tag": ("PUT", "/manifests/v3"),
}
BACK_AFTER_S = 1.0


class Mortal(LocalRegistry):
    """Behind a front that kills it at one request: before it hears of it, or after it has done it and before that is told."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.front = Front(self)
        self.address = address_of(f"{self.front.host}/models/late")
        self.repository = Registry(self.address)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def dies_at(self, step: str, *, done: bool) -> None:
        method, path = STEPS[step]

        def is_it(request: BaseHTTPRequestHandler) -> bool:
            return self._process.poll() is None and request.command == method and path in request.path

        def before(request: BaseHTTPRequestHandler) -> None:
            if is_it(request) and not done:
                self.kill()

        def after(request: BaseHTTPRequestHandler, answer: Answer) -> Answer:
            if is_it(request) and done:
                self.kill()
                raise ConnectionError("the registry was killed")
            return answer

        self.front.before, self.front.after = before, after

    def is_back(self) -> None:
        self.front.before, self.front.after = lambda request: None, lambda request, answer: answer
        self.start()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Mortal]:
    skip_without_registry()
    registry = Mortal(tmp_path / "registry")
    yield registry
    registry.front.stop()
    registry.stop()


@pytest.fixture
def code(tmp_path: Path) -> Path:
    code = tmp_path / "serving"
    code.mkdir()
    (code / "server.py").write_text("# server\n")
    (code / "requirements.lock").write_text("numpy==2.4.6\n")
    return code


def packaged(repository: Repository, code: Path) -> Image:
    contents = Contents("late", 3, WRITTEN, {"model.onnx": b"onnx" * 50_000}, {"run": "manual-1"})
    return package(contents, embedded_base(code, repository), repository)


def assert_pushed(registry: Mortal, image: Image, code: Path, tmp_path: Path) -> None:
    assert image.digest == packaged(Layout(tmp_path / "other"), code).digest
    assert registry.repository.names() == {"v3": image.digest}
    unpack(*find(image.reference), tmp_path / "unpacked")
    assert (tmp_path / "unpacked/models/current/model.onnx").read_bytes() == b"onnx" * 50_000


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_registry_killed_at_any_request_of_a_push_gets_the_same_image_later(registry, code, tmp_path, step, done):
    registry.repository = Registry(registry.address, pause_s=0.01)
    registry.dies_at(step, done=done)

    with pytest.raises(RegistryTrouble, match=r"does not answer .*, 4 times; see that it runs, then clear this task"):
        packaged(registry.repository, code)

    registry.is_back()
    for digest in registry.repository.names().values():
        registry.repository.confirm(json.loads(registry.repository.manifest(digest)))
    assert_pushed(registry, packaged(registry.repository, code), code, tmp_path)


@pytest.mark.parametrize("step", ["blob", "manifest", "tag"])
def test_a_registry_that_is_back_within_the_tries_is_not_even_noticed(registry, code, tmp_path, step):
    registry.dies_at(step, done=True)
    kill = registry.kill

    def kill_for_a_while() -> None:
        kill()
        threading.Timer(BACK_AFTER_S, registry.is_back).start()

    registry.kill = kill_for_a_while

    assert_pushed(registry, packaged(registry.repository, code), code, tmp_path)
