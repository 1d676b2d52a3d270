"""A lean HTTP load client: keep-alive connections in one thread, so that the client is not the bottleneck."""

import selectors
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Load:
    """Closed loop: each connection sends its next request when its answer has arrived."""

    requests: int
    failures: int
    per_second: float
    p50_ms: float
    p99_ms: float


def request_bytes(url: str, body: bytes) -> bytes:
    address = urlsplit(url)
    head = f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def run(url: str, body: bytes, connections: int, seconds: float) -> Load:
    address = urlsplit(url)
    request = request_bytes(url, body)
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        client = socket.create_connection((address.hostname, address.port), timeout=60)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(client, selectors.EVENT_READ, data=_Exchange())
    times, failures, elapsed = _drive(selector, request, seconds)
    for key in list(selector.get_map().values()):
        key.fileobj.close()
    ordered = sorted(times) or [float("nan")]
    return Load(len(times), failures, len(times) / elapsed, 1000 * _at(ordered, 0.5), 1000 * _at(ordered, 0.99))


class _Exchange:
    """One request under way."""

    def __init__(self) -> None:
        self.sent = 0.0
        self.received = b""

    def complete(self) -> bool:
        head, separator, rest = self.received.partition(b"\r\n\r\n")
        if not separator:
            return False
        at = head.lower().index(b"content-length:") + 15
        return len(rest) >= int(head[at:].split(b"\r\n", 1)[0])


def _drive(selector: selectors.BaseSelector, request: bytes, seconds: float) -> tuple[list[float], int, float]:
    times: list[float] = []
    failures = 0
    started = time.perf_counter()
    for key in selector.get_map().values():
        _send(key, request)
    while time.perf_counter() - started < seconds:
        for key, _ in selector.select(timeout=1):
            exchange = key.data
            exchange.received += key.fileobj.recv(65536)
            if exchange.complete():
                times.append(time.perf_counter() - exchange.sent)
                failures += not exchange.received.startswith(b"HTTP/1.1 200")
                _send(key, request)
    return times, failures, time.perf_counter() - started


def _send(key: selectors.SelectorKey, request: bytes) -> None:
    key.data.received = b""
    key.data.sent = time.perf_counter()
    key.fileobj.sendall(request)


def _at(ordered: list[float], share: float) -> float:
    return ordered[int(share * (len(ordered) - 1))]
