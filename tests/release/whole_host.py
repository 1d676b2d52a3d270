"""A serving host as in earnest, to be broken: supervisord, Traefik, servers, a controller's process; MLflow is a stand-in."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from contract.documents import GoldenRows, Image
from contract.platform import Platform
from contract.serving import Serving
from contract.store.factory import store_at
from demo.traffic import LoadGenerator, Tally
from release.controller.consistency import differences
from release.controller.loop import parts_of
from release.ledger.entries import Outcome
from release.ledger.ledger import Ledger
from release.ledger.requests import Request
from release.targets.base import Server
from tests.release.fakes import a_request, request_of
from tests.release.local import ROOT, LocalHost, until
from tests.release.test_mlflow_alias import Mlflow
from tests.release.test_release_on_host import later, predicting

MODEL = "late"
LIMITS = Serving(canary=[10, 50, 100], hold="1s", max_hold="3s", min_requests=10, max_error_rate=0.06, max_p95="2s", probation="0s")
NAMED = 'self.send_response(code)\n        self.send_header("X-Model-Version", os.environ.get("MODEL_VERSION", ""))'
SERVER = predicting().replace("self.send_response(code)", NAMED)


class WholeHost:
    def __init__(self, home: Path, containers: "ContainerHost | None" = None) -> None:  # noqa: F821
        self.mlflow = Mlflow()
        threading.Thread(target=self.mlflow.serve_forever, args=(0.02,), daemon=True).start()
        self.host = LocalHost(home, SERVER)
        self.makes = containers or self.host
        changed = {"mlflow": self.mlflow.url, **(in_containers(self.host.platform, containers) if containers else {})}
        self.host.platform = self.platform = self.host.platform.model_copy(update=changed)
        self.file = home / "platform.yaml"
        self.file.write_text(yaml.safe_dump(self.platform.model_dump(mode="json", exclude={"name"})))
        self.ledger = Ledger(store_at(self.platform.store))
        golden = GoldenRows(columns=("x",), rows=((1.0,),), expected=((0.5,),))
        self.ledger.store.create("golden.json", golden.model_dump_json().encode())
        self.parts = parts_of(self.platform)
        self.controller: subprocess.Popen | None = None
        self.host.start()

    def stop(self) -> None:
        self.host.stop()
        self.mlflow.shutdown()

    @property
    def log(self) -> Path:
        return self.host.home / "controller.log"

    def start_controller(self) -> None:
        """Not by supervisord: it is killed oftener than that would look."""
        command = [sys.executable, "-m", "release.controller.loop", "--platform", str(self.file)]
        with self.log.open("a") as log:
            self.controller = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def starts(self) -> int:
        """How often a controller got to work."""
        return self.log.read_text().count("reconciles every model at least once a second")

    def kill_controller(self) -> None:
        self.controller.kill()
        self.controller.wait()

    @contextmanager
    def controlled(self) -> Iterator[None]:
        self.start_controller()
        try:
            yield
        finally:
            self.kill_controller()

    def image(self, version: int, **behaviour: float) -> Image:
        return later(self.makes.image(version, **behaviour), version)

    def traffic(self, per_second: float = 100, clients: int = 4) -> LoadGenerator:
        """Of rows that a misbehaving version fails on; the golden row is none of them."""
        return LoadGenerator(f"{self.platform.serving.url}/{MODEL}/invocations", ["x"], [[2.0]], per_second, clients)

    def ask(self, kind: str, image: Image, **limits: float) -> Request:
        live = self.ledger.champion(MODEL)
        offered = {"image": image, "serving": LIMITS.model_copy(update=limits), "expected_live": live and live.digest}
        request = request_of(**dict(a_request(kind, image.version)) | offered)
        self.ledger.request(request)
        return request

    def ended(self, kind: str, image: Image) -> Outcome:
        request = self.ask(kind, image)
        return until(lambda: self.ledger.outcome(MODEL, request.id), f"{request.id} has ended", seconds=90)

    def put_live(self, image: Image) -> None:
        for kind in ("check", "release"):
            outcome = self.ended(kind, image)
            assert outcome.done, outcome.reason

    def await_step(self, request: Request, percent: int) -> None:
        """Confirmed by the router, and judged."""

        def reached() -> bool:
            ended, active = self.ledger.outcome(MODEL, request.id), self.ledger.last(MODEL).state.active
            assert ended is None, f"{request.id} has ended before {percent} %: {ended.reason}"
            return active is not None and active.percent == percent and active.phase in ("analyzing", "probing")

        until(reached, f"{request.id} is judged at {percent} %")

    def servers(self, image: Image) -> list[Server]:
        return [server for server in self.parts.target.servers() if server.digest == image.digest]

    def kill(self, server: Server) -> int:
        pid = int(self.parts.target._call_supervisor("getProcessInfo", server.name)["pid"])
        os.kill(pid, signal.SIGKILL)
        return pid

    def router_process(self) -> psutil.Process | None:
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or [""]
            if command[0].endswith("/traefik") and process.cwd() == self.platform.serving.home:
                return process
        return None

    def outcomes(self) -> list[Outcome]:
        """All that the ledger ever told, in order."""
        return [outcome for entry in reversed(list(self.ledger.entries(MODEL))) for outcome in entry.outcomes]

    def is_whole(self) -> bool:
        """Router, servers, alias and tags are what the ledger's last entry says, and no release is half done."""
        return self.ledger.last(MODEL).state.active is None and differences(self.parts, self.platform.serving.servers) == []

    def names(self, digests: set[str]) -> bool:
        """Whether each of these was named by the ledger when asked."""
        state = self.ledger.last(MODEL).state
        named = (state.live, state.previous, state.active and state.active.image)
        return digests <= {image.digest for image in named if image}


def in_containers(platform: Platform, containers: "ContainerHost") -> dict[str, Any]:  # noqa: F821
    from tests.release.engine import rootfs

    return {
        "images": platform.images.model_copy(update={"repository": containers.repository, "rootfs": rootfs()}),
        "serving": platform.serving.model_copy(update={"target": "docker", "memory_mb": containers.serving.memory_mb}),
    }


@contextmanager
def a_whole_host(containers: "ContainerHost | None" = None) -> Iterator[WholeHost]:  # noqa: F821
    with tempfile.TemporaryDirectory(prefix="host-") as folder:
        whole = WholeHost(Path(folder), containers)
        try:
            yield whole
        finally:
            whole.stop()


@contextmanager
def watched(whole: WholeHost) -> Iterator[list[str]]:
    """What was in force at the router without being named by the ledger, as looked at all the while."""
    over, strange, readings = threading.Event(), [], []

    def analysis() -> None:
        while not over.wait(0.05):
            weights = whole.parts.router.seen(MODEL) or {}
            readings.append(weights)
            if not whole.names(set(weights)):
                strange.append(f"{weights} while the ledger says {whole.ledger.last(MODEL).what}")

    thread = threading.Thread(target=analysis)
    thread.start()
    try:
        yield strange
    finally:
        over.set()
        thread.join()
    assert len({str(weights) for weights in readings}) > 1, "it was not looked at while it changed"


def tally_sentence(what: str, tally: Tally) -> str:
    return f"{what}: {len(tally.failures)} of {tally.sent} requests failed, the slowest took {max(tally.seconds):.2f} s"
