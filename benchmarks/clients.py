"""Clients in a process of their own that ask at a fixed rate: half over kept connections, half over a new one each.

Open loop: a request goes out at its time, however slow the others are, so that a stall is not hidden by fewer requests.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.load import request_bytes

TIMEOUT_S = 30
AT_MOST_S = 1800  # they end by themselves if nobody ends them


class Answer(NamedTuple):
    """`sent` is in time.monotonic(), one clock for all processes; `version` answered; `problem` is empty if the answer is right."""

    sent: float
    seconds: float
    version: str
    problem: str


@contextmanager
def asking(url: str, body: bytes, per_second: float) -> Iterator[list[Answer]]:
    """The list is filled when the clients have stopped, requests under way at that time included."""
    context = multiprocessing.get_context("spawn")
    over, (ours, theirs), answers = context.Event(), context.Pipe(duplex=False), []
    process = context.Process(target=_ask, args=(url, body, per_second, over, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield answers
        over.set()
        answers += ours.recv()
    finally:
        over.set()
        process.join(TIMEOUT_S)
        process.kill()


def _ask(url: str, body: bytes, per_second: float, over: Event, pipe: Connection) -> None:
    pipe.send(asyncio.run(_Clients(url, body).drive(per_second, over)))


class _Clients:
    def __init__(self, url: str, body: bytes) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._request = request_bytes(url, body)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._answers: list[Answer] = []

    async def drive(self, per_second: float, over: Event) -> list[Answer]:
        started, sent, under_way = time.monotonic(), 0, set()
        while not over.is_set() and time.monotonic() - started < AT_MOST_S:
            await asyncio.sleep(max(0.0, started + sent / per_second - time.monotonic()))
            task = asyncio.create_task(self._one(keeps=sent % 2 == 0))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            sent += 1
        await asyncio.gather(*under_way)
        for _, writer in self._idle:
            writer.close()
        return self._answers

    async def _one(self, *, keeps: bool) -> None:
        sent, version, problem, connection = time.monotonic(), "", "", None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                connection = self._idle.pop() if keeps and self._idle else await asyncio.open_connection(*self._address)
                version, problem = await self._exchange(*connection)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            problem = f"{type(error).__name__}: {error}"
        self._answers.append(Answer(sent, time.monotonic() - sent, version, problem))
        if keeps and not problem:
            self._idle.append(connection)
        elif connection:
            connection[1].close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, str]:
        """The version that answered, and what is wrong with the answer."""
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status, *lines = head.split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        right = status.split()[1] == "200"
        return headers.get("x-model-version", "?"), "" if right else f"{status}: {content[:200]!r}"
