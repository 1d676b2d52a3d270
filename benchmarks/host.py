"""A serving host in a temporary folder, as in production: supervisord, Traefik, the controller, the project's own server.

Only MLflow is replaced, by a server that stores one alias.
"""

import itertools
import json
import math
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import httpx
import yaml

from benchmarks.engine import WITH_ME, free_ports, until
from contract.documents import GoldenRows, Image
from contract.platform import Platform, load_platform
from contract.serving import Serving
from contract.store.factory import store_at
from demo.paths import ROOT, python_of
from images.base import NAME, embedded_base, stored_base
from images.package import Contents, package
from images.references import repository_of
from release.controller.loop import target_of
from release.ledger.entries import Outcome
from release.ledger.ledger import Ledger
from release.ledger.requests import Request
from release.routing.traefik import TraefikRouter
from tests.release.fakes import request_of

MODEL = "measured"
SERVED = ROOT / "tests" / "serving" / "models" / "binary"
LATE = 3 * math.e / (3 * math.e + 1)  # sigmoid(-1 + 0.05 · 20 + 0.001 · 1000 + ln 3), see tests/serving/make_models.py
GOLDEN = GoldenRows(columns=("dep_delay", "distance", "carrier"), rows=((20.0, 1000.0, "AA"),), expected=((1 - LATE, LATE),))
BODY = json.dumps({"dataframe_split": {"columns": GOLDEN.columns, "data": GOLDEN.rows}}).encode()
DAY_ONE = datetime(2013, 5, 1, tzinfo=UTC)


class Host:
    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.url = f"{platform.serving.url}/{MODEL}/invocations"
        self.ledger = Ledger(store_at(platform.store))
        self.ledger.store.create("golden.json", GOLDEN.model_dump_json().encode())
        self.target = target_of(platform.serving)
        self._router = TraefikRouter(platform.serving)
        self._numbers = itertools.count(1)

    def image(self, version: int) -> Image:
        """The same model each time; the version makes it another digest."""
        where = self.platform.images
        repository = repository_of(where.repository, MODEL)
        if where.rootfs:
            base = stored_base(ROOT / "serving", where.rootfs, repository_of(where.repository, NAME))
        else:
            base = embedded_base(ROOT / "serving", repository)
        files = {path.name: path.read_bytes() for path in SERVED.iterdir()}
        return package(Contents(MODEL, version, DAY_ONE + timedelta(days=version), files, {}), base, repository)

    def request(self, kind: str, image: Image | None = None, serving: Serving | None = None) -> Request:
        live = self.ledger.champion(MODEL)
        offered = {"image": image, "golden": "golden.json", "serving": serving} if image else {}
        known = {"model": MODEL, "expected_live": live.digest if live else None, "who": "benchmark", "why": "it is measured"}
        request = request_of(kind, id=f"{kind}-{next(self._numbers)}", **known, **offered)
        self.ledger.request(request)
        return request

    def outcome(self, request: Request) -> Outcome:
        """Raises TimeoutError also where the request was refused or failed: there is nothing to measure then."""
        until(lambda: self.ledger.outcome(MODEL, request.id), f"{request.id} has ended", within_s=120)
        outcome = self.ledger.outcome(MODEL, request.id)
        if not outcome.done:
            raise TimeoutError(f"{request.id} was not done: {outcome.reason}")
        return outcome

    def weights(self) -> dict[str, int] | None:
        """Weights that the router itself reports."""
        return self._router.seen(MODEL)

    def runs_only(self, *images: Image) -> bool:
        return self.target.digests(MODEL) == {image.digest for image in images}


@contextmanager
def serving_host(servers: int, images: dict[str, str] | None = None) -> Iterator[Host]:
    """Servers are processes; with `images` of a platform, which then lie in a registry, containers of DOCKER_HOST's engine."""
    with tempfile.TemporaryDirectory(prefix="host-") as home, mlflow() as url:
        file = Path(home, "measured.yaml")
        file.write_text(yaml.safe_dump(_platform(home, url, servers, images)))
        env = {**os.environ, "AIRFLOW_HOME": home, "PYTHONPATH": str(ROOT)}
        command = [*WITH_ME, python_of("release"), "-m", "release.routing.host", "--platform", str(file)]
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
        try:
            host = Host(load_platform(file, Path(home)))
            until(lambda: _routes(host.platform.serving.router_api), "the router answers")
            yield host
        except TimeoutError as error:
            log = Path(home, "serving", "logs", "controller.log")
            error.add_note(log.read_text()[-2000:] if log.exists() else "the controller wrote no log")
            raise
        finally:
            process.terminate()
            process.wait(60)
            if images:
                _remove_containers()


@contextmanager
def mlflow() -> Iterator[str]:
    """The part of MLflow's REST API that the controller uses."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Alias)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Alias(BaseHTTPRequestHandler):
    version = "0"

    def do_GET(self) -> None:
        self._answer({"model_version": {"version": _Alias.version}})

    def do_POST(self) -> None:
        _Alias.version = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["version"]
        self._answer({})

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None: ...


def _platform(home: str, mlflow: str, servers: int, images: dict[str, str] | None) -> dict[str, Any]:
    url, router_api = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    return {
        "store": "store",
        "data": "data",
        "mlflow": mlflow,
        "spark": {"python": python_of("spark")},
        "images": images or {"repository": f"oci:{home}/images"},
        "serving": {
            "target": "docker" if images else "process",
            "home": "serving",
            "python": python_of("serving"),
            "url": url,
            "router_api": router_api,
            "servers": servers,
        },
    }


def _routes(router_api: str) -> bool:
    try:
        return httpx.get(f"{router_api}/api/overview", timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _remove_containers() -> None:
    """The engine would restart them for ever."""
    for container in docker.from_env().containers.list(all=True, filters={"label": f"retraining.model={MODEL}"}):
        container.remove(force=True)
