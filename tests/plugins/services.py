"""Small real servers on free local ports: MLflow's one route that packaging uses, a Slack webhook, a mail sink."""

import json
import random
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple


def on_a_free_port(kind: type[socketserver.TCPServer], handler: type) -> Any:
    for _ in range(100):
        try:
            return kind(("127.0.0.1", random.randrange(20000, 30000)), handler)
        except OSError:
            continue
    raise RuntimeError("no free port between 20000 and 29999")


@contextmanager
def serving(server: Any) -> Iterator[Any]:
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Quiet(BaseHTTPRequestHandler):
    def answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None: ...


@contextmanager
def mlflow(artifacts: Path, tags: dict[str, str]) -> Iterator[str]:
    """An MLflow server whose every run has its artifacts in the folder, and which notes what versions are tagged with."""

    class Handler(Quiet):
        def do_GET(self) -> None:
            info = {"run_id": "r1", "run_uuid": "r1", "experiment_id": "0", "status": "FINISHED", "artifact_uri": str(artifacts)}
            self.answer(json.dumps({"run": {"info": info, "data": {}}}).encode())

        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/model-versions/set-tag"):
                tags[said["key"]] = said["value"]
            self.answer(b"{}")

    with serving(on_a_free_port(ThreadingHTTPServer, Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@contextmanager
def webhook(texts: list[str]) -> Iterator[int]:
    """Collects what is posted, as Slack would take it."""

    class Handler(Quiet):
        def do_POST(self) -> None:
            texts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.answer(b"ok")

    with serving(on_a_free_port(ThreadingHTTPServer, Handler)) as server:
        yield server.server_port


class Mail(NamedTuple):
    to: str
    subject: str
    body: str


def as_mail(content: bytes) -> Mail:
    mail = message_from_bytes(content, policy=default)
    return Mail(mail["To"], mail["Subject"], mail.get_body(("html",)).get_content())


@contextmanager
def mail_sink(mails: list[Mail]) -> Iterator[int]:
    """Collects whole mails by the few commands of SMTP that a client without login needs."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 sink")
            for line in self.rfile:
                word = line.split()[0].upper()
                if word == b"DATA":
                    self.say("354 go on")
                    mails.append(as_mail(b"".join(iter(self.rfile.readline, b".\r\n"))))
                self.say("221 bye" if word == b"QUIT" else "250 fine")
                if word == b"QUIT":
                    return

        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    with serving(on_a_free_port(socketserver.ThreadingTCPServer, Handler)) as server:
        yield server.server_address[1]
