"""Clients that send requests to a served model at a steady rate, and record every failure."""

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TIMEOUT_S = 30


@dataclass
class Tally:
    """What the clients saw; `versions` counts answers by the version that gave them."""

    sent: int = 0
    failures: list[str] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.seconds)
        return 1000 * ordered[int(share * (len(ordered) - 1))] if ordered else float("nan")


class LoadGenerator:
    """`with LoadGenerator(url, columns, rows, per_second=100) as tally:` half of the clients keep their connection, half never."""

    def __init__(self, url: str, columns: list[str], rows: list[list], per_second: float, clients: int = 4):
        self._url = urlsplit(url)
        self._bodies = [json.dumps({"dataframe_split": {"columns": columns, "data": [row]}}) for row in rows]
        self._pause_s = clients / per_second
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self.tally = Tally()
        self._threads = [threading.Thread(target=self._client, args=(index % 2 == 0,), daemon=True) for index in range(clients)]

    def __enter__(self) -> Tally:
        for thread in self._threads:
            thread.start()
        return self.tally

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    def _client(self, keeps: bool) -> None:
        connection = self._connect()
        due = time.monotonic()
        for body in itertools.cycle(self._bodies):
            if self._stopped.is_set():
                break
            self._ask(connection, body)
            if not keeps:
                connection.close()
            due = max(due + self._pause_s, time.monotonic() - 1)  # at most one second of delay is caught up with by a burst
            self._stopped.wait(max(0, due - time.monotonic()))
        connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._url.hostname, self._url.port, timeout=TIMEOUT_S)

    def _ask(self, connection: http.client.HTTPConnection, body: str) -> None:
        started = time.monotonic()
        try:
            connection.request("POST", self._url.path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            problem = "" if answer.status == 200 else f"{answer.status}: {text[:200]!r}"
            version = answer.headers.get("X-Model-Version", "?")
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            problem, version = f"{type(error).__name__}: {error}", "?"
        self._note(problem, version, time.monotonic() - started)

    def _note(self, problem: str, version: str, seconds: float) -> None:
        with self._lock:
            self.tally.sent += 1
            self.tally.seconds.append(seconds)
            if problem:
                self.tally.failures.append(problem)
            else:
                self.tally.versions[version] += 1
