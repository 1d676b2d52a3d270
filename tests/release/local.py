"""A real serving host in a temporary folder: supervisord, Traefik, and images of a stand-in server of a few lines."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx

from contract.documents import Image
from contract.platform import Platform, ServingHost
from images.base import embedded_base
from images.package import Contents, package
from images.references import repository_of
from release.routing.host import prepare
from release.targets.base import Server
from release.targets.ports import is_free
from tests import waiting

ROOT = Path(__file__).parents[2]
LOCK = "stand-in==1\n"
STAND_IN = """
import json, os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

behaviour = json.loads((Path(sys.argv[2]) / "model.json").read_bytes())

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def answer(self, code, content):
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200, dict(os.environ) if self.path == "/environment" else self.path)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(behaviour.get("seconds", 0))
        if behaviour.get("dies"):
            os._exit(1)
        self.answer(behaviour.get("status", 200), {"version": os.environ["MODEL_VERSION"], "pid": os.getpid(), "path": self.path})

    def log_message(self, *arguments):
        pass

if behaviour.get("stillborn"):
    sys.exit("no model")
ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer.daemon_threads = False  # exit waits for what is being answered
server = ThreadingHTTPServer((sys.argv[4], int(sys.argv[6])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.05)
time.sleep(0.1)
os._exit(0)
"""


class LocalHost:
    """`home` must be short: a Unix socket lies in it."""

    def __init__(self, home: Path, server: str = STAND_IN) -> None:
        self.home = home
        self._code = home / "code/serving"
        self._code.mkdir(parents=True)
        (self._code / "__main__.py").write_text(server)
        (self._code / "requirements.lock").write_text(LOCK)
        python = home / "venv/bin/python"
        python.parent.mkdir(parents=True)
        python.symlink_to(sys.executable)
        self.lock = home / "venv/requirements.lock"
        self.lock.write_text(LOCK)
        self.platform = a_platform(home, python)
        self.serving = self.platform.serving
        self._supervisord: subprocess.Popen | None = None

    def image(self, version: int, model: str = "late", **behaviour: float) -> Image:
        files = {"model.json": json.dumps(behaviour).encode()}
        contents = Contents(model, version, datetime(2013, 5, 1, tzinfo=UTC), files, {})
        repository = repository_of(self.platform.images.repository, model)
        return package(contents, embedded_base(self._code, repository), repository)

    def real_image(self, version: int, model: str) -> Image:
        """The repository's own server with a model of two numbers."""
        files = {path.name: path.read_bytes() for path in (ROOT / "tests/serving/models/regression").iterdir()}
        contents = Contents(model, version, datetime(2013, 5, version, tzinfo=UTC), files, {})
        repository = repository_of(self.platform.images.repository, model)
        return package(contents, embedded_base(ROOT / "serving", repository), repository)

    @property
    def real_serving(self) -> ServingHost:
        return self.serving.model_copy(update={"python": str(ROOT / ".venv/serving/bin/python")})

    def start(self, environment: dict[str, str] | None = None) -> int:
        """All but the controller: the tests are the controller. Returns supervisord's process id."""
        conf = prepare(self.platform, self.home / "platform.yaml")
        content = conf.read_text().replace("[program:controller]", "[program:controller]\nautostart=false")
        conf.unlink()
        conf.write_text(content)
        command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "--configuration", str(conf)]
        self._supervisord = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        until(lambda: answers(f"{self.serving.router_api}/api/overview"), "Traefik answers")
        return self._supervisord.pid

    def stop(self) -> None:
        self._supervisord.terminate()
        self._supervisord.wait(timeout=30)


def a_platform(home: Path, python: Path) -> Platform:
    url, router_api = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    return Platform.model_validate(
        {
            "name": "test",
            "store": str(home / "store"),
            "data": str(home / "data"),
            "mlflow": "http://127.0.0.1:1",
            "spark": {"python": str(python)},
            "images": {"repository": f"oci:{home / 'images'}"},
            "serving": {"home": str(home / "serving"), "python": str(python), "url": url, "router_api": router_api},
        }
    )


def free_ports(count: int) -> list[int]:
    return [port for port in random.sample(range(20000, 30000), 100) if is_free(port)][:count]


def until(holds: Callable[[], object], what: str, seconds: float = 40) -> object:
    return waiting.until(holds, what, seconds, every_s=0.02)


# One for all: to make a client takes 40 ms of a processor, and these ask every 20 ms.
ASKING = httpx.Client(timeout=2, limits=httpx.Limits(max_keepalive_connections=0), trust_env=False)


def answers(url: str) -> bool:
    try:
        return ASKING.get(url).is_success
    except httpx.TransportError:
        return False


def ready(server: Server) -> bool:
    return answers(f"{server.url}/v2/health/ready")
