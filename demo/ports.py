"""Ports of this machine's loopback: which are taken, and whether a service answers there."""

import socket
import time
from collections.abc import Callable

import httpx

from demo.errors import DemoError
from demo.paths import LOGS

START_TIMEOUT_S = 180


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def await_answer(title: str, service: str, ready: Callable[[], bool]) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        try:
            if ready():
                return
        except (httpx.HTTPError, ValueError, KeyError):
            pass
        time.sleep(0.3)
    raise DemoError(f"{title} did not answer within {START_TIMEOUT_S} s: read {LOGS / service}.log, then `make stop` and try again")
