"""The real controller on a real host: supervisord, Traefik, servers, and requests all the while. Only MLflow is a stand-in."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from contract.documents import GoldenRows, Image
from contract.serving import Serving
from contract.store.factory import store_at
from release.controller.loop import Controller
from release.controller.reconciler import Parts, Reconciler
from release.ledger.entries import Outcome
from release.ledger.ledger import Ledger
from release.probes.golden_rows import HttpProbe
from release.registries.image_tags import RegistryTags
from release.routing.traefik import TraefikRouter
from release.targets.base import Target
from release.targets.process import ProcessTarget
from tests.release.fakes import FakeAlias, FakeProof, request_of
from tests.release.local import STAND_IN, LocalHost, until

LIMITS = Serving(canary=[20, 100], hold="1s", min_requests=20, max_error_rate=0.06, max_p95="2s")


def predicting() -> str:
    """A server that answers every row with one half; a version may fail on what is asked live, but not on the golden row."""
    code = STAND_IN
    for old, instead in [
        ('self.rfile.read(int(self.headers["Content-Length"]))', 'asked = self.rfile.read(int(self.headers["Content-Length"]))'),
        (
            'behaviour.get("status", 200)',
            '(behaviour.get("status", 200) if time.time() > SOUR else 200) if b"2.0" in asked else 200',
        ),
        ('if behaviour.get("stillborn"):', 'SOUR = time.time() + behaviour.get("sours", 0)\nif behaviour.get("stillborn"):'),
        ('"path": self.path}', '"predictions": [{"prediction": 0.5}] * asked.count(b".0")}'),
    ]:
        assert old in code
        code = code.replace(old, instead)
    return code


class Stage(NamedTuple):
    """A host with a router; `target` runs what `image` makes."""

    host: LocalHost
    image: Callable[..., Image]
    target: Target


@pytest.fixture(params=["processes", pytest.param("containers", marks=pytest.mark.integration)])
def stage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="host-") as folder:
        host = LocalHost(Path(folder), predicting())
        host.start()
        if request.param == "processes":
            yield Stage(host, host.image, ProcessTarget(host.serving))
        else:
            from release.targets.docker import DockerTarget
            from tests.release.engine import ContainerHost

            shared = request.getfixturevalue("container_host")
            monkeypatch.setenv("DOCKER_HOST", shared.engine.address)
            containers = ContainerHost(shared.engine, shared.registry, tmp_path, predicting())
            yield Stage(host, containers.image, DockerTarget(containers.serving))
            shared.engine.remove_all()
        host.stop()


@contextmanager
def turning(controller: Controller) -> Iterator[None]:
    over = threading.Event()

    def reconcile() -> None:
        while not over.wait(0.2):
            controller.reconcile()

    thread = threading.Thread(target=reconcile)
    thread.start()
    yield
    over.set()
    thread.join()


@contextmanager
def probing(url: str) -> Iterator[list[tuple[int, str]]]:
    """A client that sends one request after another; gives (status, version) of each."""
    over = threading.Event()
    got: list[tuple[int, str]] = []

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=10) as client:
            while not over.wait(0.01):
                answer = client.post(f"{url}/invocations", json={"dataframe_split": {"columns": ["x"], "data": [[2.0]]}})
                got.append((answer.status_code, answer.json()["version"] if answer.is_success else ""))

    thread = threading.Thread(target=ask)
    thread.start()
    yield got
    over.set()
    thread.join()


def ended(ledger: Ledger, kind: str, image: Image, live: Image | None = None, limits: Serving = LIMITS) -> Outcome:
    request = request_of(
        kind,
        id=f"{kind}-{image.version}",
        model=image.model,
        image=image,
        golden="golden.json",
        serving=limits,
        expected_live=live.digest if live else None,
        who="ann",
        why="a test asks",
    )
    ledger.request(request)
    return until(lambda: ledger.outcome(image.model, request.id), f"{request.id} has ended", seconds=90)


def controller_of(stage: Stage, ledger: Ledger, alias: FakeAlias) -> Controller:
    host = stage.host
    parts = Parts(stage.target, TraefikRouter(host.serving), alias, RegistryTags(), FakeProof(), HttpProbe(), ledger.store)
    return Controller(ledger, Reconciler(parts, ThreadPoolExecutor()), host.serving, lambda: datetime.now(UTC))


def later(image: Image, days: int) -> Image:
    return image.model_copy(update={"as_of": image.as_of.replace(day=days)})


def test_releases_under_requests_lose_none_and_a_failing_version_goes_back(stage):
    host = stage.host
    ledger = Ledger(store_at(host.platform.store))
    alias = FakeAlias()
    controller = controller_of(stage, ledger, alias)
    golden = GoldenRows(columns=("x",), rows=((1.0,),), expected=((0.5,),))
    ledger.store.create("golden.json", golden.model_dump_json().encode())
    good, better, failing = later(stage.image(1), 1), later(stage.image(2, seconds=0.001), 2), later(stage.image(3, status=500), 3)

    with turning(controller):
        assert ended(ledger, "check", good).reason.startswith("golden rows within 0.0e+00 of Spark's answers")
        assert ended(ledger, "release", good).release.outcome == "released"

        with probing(f"{host.serving.url}/late") as got:
            assert ended(ledger, "check", better).done
            assert ended(ledger, "release", better, live=good).release.outcome == "released"
        assert {status for status, _ in got} == {200}
        assert {version for _, version in got} == {"1", "2"}
        assert got[-1] == (200, "2")

        with probing(f"{host.serving.url}/late") as got:
            assert ended(ledger, "check", failing).done
            outcome = ended(ledger, "release", failing, live=better)
        assert outcome.release.outcome == "rolled_back"
        assert "requests failed; 6.00% are allowed" in outcome.reason
        failed = [status for status, _ in got if status != 200]
        assert 5 <= len(failed) < len(got) / 2
        assert got[-1] == (200, "2")
    assert (ledger.champion("late").version, alias.versions) == (2, {"late": 2})
    production = RegistryTags().get("production", better)
    assert (production, RegistryTags().get("previous", better)) == (better.digest, good.digest)


def test_a_version_that_turns_sour_after_its_release_is_taken_back_by_itself(stage):
    host = stage.host
    ledger = Ledger(store_at(host.platform.store))
    golden = GoldenRows(columns=("x",), rows=((1.0,),), expected=((0.5,),))
    ledger.store.create("golden.json", golden.model_dump_json().encode())
    good, sour = later(stage.image(1), 1), later(stage.image(2, status=500, sours=15), 2)
    limits = LIMITS.model_copy(update={"canary": (100,), "probation": timedelta(minutes=2)})

    with turning(controller_of(stage, ledger, FakeAlias())):
        for kind in ("check", "release"):
            assert ended(ledger, kind, good).done
        with probing(f"{host.serving.url}/late") as got:
            assert ended(ledger, "check", sour).done
            assert ended(ledger, "release", sour, live=good, limits=limits).release.outcome == "released"
            until(lambda: ledger.champion("late") == good, "it is taken back", seconds=60)
            back = len(got)
            until(lambda: len(got) > back + 50, "requests went on")
    failed = [number for number, (status, _) in enumerate(got) if status != 200]
    assert len(failed) >= 5
    assert {version for status, version in got[back:]} == {"1"}
    newest = ledger.last("late")
    assert newest.notification.startswith("version 2 ")
    assert "in its probation" in newest.notification
    assert [entry.image.version for entry in newest.state.quarantined] == [2]
