"""Granian, started inside this process and stopped without losing a request.

Granian's own stop resets connections that wait to be accepted and idle ones on which a request is just arriving (up to
30 of 32 clients in trials). So this stop first refuses new connections, then closes each open one with its next answer.
"""

import asyncio
import ctypes
import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from time import perf_counter

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from serving.errors import CannotServe
from serving.server import App

BACKLOG = 1024
KEEP_ALIVE_MS = 180_000  # longer than the 90 s for which a router keeps idle connections: only the router closes them
LEAVING_S = 0.5  # for clients with an open connection to send one more request
STOP_LIMIT_S = 25.0  # then requests still unanswered are given up
SO_ATTACH_FILTER = 26  # Linux; the socket module does not name it


def listen(host: str, port: int) -> socket.socket:
    """Bound without SO_REUSEPORT, which granian sets: a second server on the port must fail, not share its requests."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotServe(f"Cannot listen on {host}:{port}: {os.strerror(error.errno) if error.errno else error}.") from None
    listener.setblocking(False)
    return listener


async def serve(app: App, host: str, port: int) -> None:
    """Raises CannotServe if it cannot listen or go on; returns after SIGTERM or SIGINT, with every request answered."""
    stop_requested = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop_requested.set)
    threads = _threads()
    listener = listen(host, port)
    server = _Granian(app, listener)
    stopping = asyncio.create_task(_stop(stop_requested, server, app, listener))
    print(f"serving {app.identity.model} version {app.identity.version} on {host}:{port}", flush=True)
    await server.serve()
    if not stopping.done():
        raise CannotServe("The HTTP server ended without a SIGTERM or SIGINT.")
    while _threads() > threads:  # granian's threads still hand out answers, and abort if Python ends before them
        await asyncio.sleep(0.005)


class _Granian(Server):
    """Granian's server on our own socket, so that we can refuse new connections."""

    def __init__(self, app: App, listener: socket.socket):
        self._listener = listener
        super().__init__(
            app,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            websockets=False,
            http1_settings=HTTP1Settings(header_read_timeout=KEEP_ALIVE_MS),
            log_level=LogLevels.error,
        )

    def _init_shared_socket(self) -> None:
        descriptor = os.dup(self._listener.fileno())
        self._shd = SocketHolder(descriptor, False, BACKLOG)  # type: ignore[call-arg, assignment]  # stub: no constructor, and None only


async def _stop(stop_requested: asyncio.Event, server: Server, app: App, listener: socket.socket) -> None:
    await stop_requested.wait()
    begun = perf_counter()
    app.draining = True  # from here each answer closes its connection
    _refuse_connections(listener)
    await asyncio.sleep(LEAVING_S)
    while app.in_flight and perf_counter() - begun < STOP_LIMIT_S:
        await asyncio.sleep(0.01)
    server.stop()  # type: ignore[no-untyped-call]  # granian annotates no methods


def _threads() -> int:
    """Number of this process's threads, native ones included; 0 where it is not known (not Linux)."""
    return len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 0


def _refuse_connections(listener: socket.socket) -> None:
    """Refuses new connections, while those already in the queue are still accepted: closing the socket would reset them.

    By a socket filter that drops every packet. A client that tries to connect retries after a second, and is then refused.
    """
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(drop_all))
    with suppress(OSError):  # without Linux new connections are accepted until the end
        if sys.platform == "linux":
            listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
