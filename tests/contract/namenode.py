"""A small WebHDFS server that is NameNode and DataNode in one, and whose answers can be spoilt."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit


class Spoilt(NamedTuple):
    """The next answer to this operation: whether the operation is done all the same, and its answer; none if status is 0."""

    op: str
    done: bool = False
    status: int = 0
    exception: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class NameNode:
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.operations: list[str] = []
        self.spoilt: list[Spoilt] = []
        self.always: Spoilt | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"node": self}))
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def next_spoilt(self, op: str) -> Spoilt | None:
        if self.spoilt and self.spoilt[0].op == op:
            return self.spoilt.pop(0)
        return self.always

    def do(self, op: str, path: str, given: dict[str, str], body: bytes) -> tuple[int, object]:
        if op == "CREATE":
            self.files[path] = body
            return 201, None
        if op == "RENAME":
            if path not in self.files:
                return failed(404, "FileNotFoundException")
            if given["destination"] in self.files:
                return failed(403, "FileAlreadyExistsException")
            self.files[given["destination"]] = self.files.pop(path)
            return 200, None
        if op == "DELETE":
            return 200, {"boolean": self.files.pop(path, None) is not None}
        if path not in self.files:
            return failed(404, "FileNotFoundException")
        return 200, self.files[path] if op == "OPEN" else {"FileStatus": {"type": "FILE"}}


def failed(status: int, exception: str) -> tuple[int, object]:
    return status, {"RemoteException": {"exception": exception, "message": f"{exception} it is\n\tat x.java"}}


class Handler(BaseHTTPRequestHandler):
    node: NameNode
    protocol_version = "HTTP/1.1"

    def handle_one(self) -> None:
        url = urlsplit(self.path)
        given = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if given["op"] in ("CREATE", "OPEN") and "data" not in given and not self.node.always:
            return self._answer(307, None, (("Location", f"http://{self.node.address}{self.path}&data=true"),))
        op, path = given["op"], unquote(url.path.removeprefix("/webhdfs/v1"))
        self.node.operations.append(op)
        spoilt = self.node.next_spoilt(op)
        status, said = self.node.do(op, path, given, body) if spoilt is None or spoilt.done else (0, None)
        if spoilt is None:
            return self._answer(status, said)
        if spoilt.status == 0:
            self.close_connection = True
            return None
        failure = failed(spoilt.status, spoilt.exception)[1] if spoilt.exception else None
        return self._answer(spoilt.status, failure, spoilt.headers)

    do_GET = do_PUT = do_DELETE = handle_one  # noqa: N815 http.server's names

    def _answer(self, status: int, said: object, headers: tuple[tuple[str, str], ...] = ()) -> None:
        content = said if isinstance(said, bytes) else b"" if said is None else json.dumps(said).encode()
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(content)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass
