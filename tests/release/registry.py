"""A real registry on this host, and a front before it that breaks what passes."""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "docker-registry"
USER, PASSWORD = "pusher", "correct horse"
HTPASSWD = f"{USER}:$2b$04$TPwZIgr.pSFKxELi26KCP.1xeSZ2gDED47or81q4OCvBFEXniJmB6\n"
CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: {deletes}}}}}
http: {{addr: "{host}"}}
{auth}
"""


class LocalRegistry:
    def __init__(self, home: Path, login: bool = False, address: str = "127.0.0.1", deletes: bool = True) -> None:
        self.home = home
        self.port = free_port()
        self.host = f"{address}:{self.port}"
        auth = f"auth: {{htpasswd: {{realm: tests, path: {home / 'htpasswd'}}}}}" if login else ""
        home.mkdir(parents=True, exist_ok=True)
        (home / "htpasswd").write_text(HTPASSWD)
        given = {"root": home / "data", "host": self.host, "auth": auth, "deletes": str(deletes).lower()}
        (home / "config.yml").write_text(CONFIG.format(**given))
        self.start()

    def start(self) -> None:
        with (self.home / "log").open("a") as log:
            self._process = subprocess.Popen([PROGRAM, "serve", str(self.home / "config.yml")], stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < deadline, (self.home / "log").read_text()[-500:]
            time.sleep(0.05)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://{self.host}/v2/").status_code in (200, 401)
        except httpx.TransportError:
            return False


def skip_without_registry() -> None:
    """One clear line where it cannot run; in CI it must."""
    if shutil.which(PROGRAM) is None:
        skip(f"{PROGRAM} is not installed: apt-get install docker-registry")


def skip(sentence: str) -> None:
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(sentence)


def cosign_program() -> Path:
    """Fetched once, in seconds; it stays below .build/. One clear line where it cannot be had; in CI it must."""
    folder = ROOT / ".build" / "cosign"
    if not (folder / "cosign").exists():
        got = subprocess.run([str(ROOT / "tests/release/get_cosign.sh"), str(folder)], capture_output=True, text=True)
        if got.returncode:
            skip(f"cosign cannot be fetched from Debian's trixie: {(got.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    return folder / "cosign"


def free_port() -> int:
    with socket.socket() as unbound:
        unbound.bind(("127.0.0.1", 0))
        return unbound.getsockname()[1]


Answer = tuple[int, dict[str, str], bytes]


class Front:
    """Passes requests on to the registry; `spoil` may answer one itself, or change the registry's answer."""

    def __init__(self, registry: LocalRegistry) -> None:
        self.requests: list[str] = []
        self.before: Callable[[BaseHTTPRequestHandler], Answer | None] = lambda request: None
        self.after: Callable[[BaseHTTPRequestHandler, Answer], Answer] = lambda request, answer: answer
        self._registry = httpx.Client(base_url=f"http://{registry.host}")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._registry.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or each answer's body waits 40 ms for its headers to be acknowledged

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                front.requests.append(f"{self.command} {self.path}")
                answer = front.before(self) or front.after(self, forwarded(front._registry, self, body))
                status, headers, content = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "content-length" not in headers:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = pass_on  # noqa: N815  (names of http.server)

            def log_message(self, *arguments: object) -> None: ...

        return Handler


def forwarded(registry: httpx.Client, request: BaseHTTPRequestHandler, body: bytes) -> Answer:
    """The Host stays, so that the registry's Location comes back here."""
    headers = {name: value for name, value in request.headers.items() if name.lower() not in ("connection", "authorization")}
    answer = registry.request(request.command, request.path, headers=headers, content=body)
    kept = ("content-type", "location", "docker-content-digest", "www-authenticate", "link")
    answered = {name: answer.headers[name] for name in kept if name in answer.headers}
    if request.command == "HEAD":
        answered["content-length"] = answer.headers.get("content-length", "0")
    return answer.status_code, answered, answer.content
