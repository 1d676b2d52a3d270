"""Copies a cluster job's output into the store while it runs, so that its task's log can show it wherever the driver runs."""

import sys
import threading
from typing import TextIO

from contract.paths import JobFiles
from contract.store.base import Store

EVERY_S = 3.0
MOST_PARTS, MOST_CHARACTERS = 9999, 100_000


class LogForwarder:
    """Replaces sys.stdout; every `every_s` seconds new output becomes one more of the job's progress files."""

    def __init__(self, store: Store, files: JobFiles, stdout: TextIO, every_s: float = EVERY_S) -> None:
        self._store, self._files, self._stdout, self._every_s = store, files, stdout, every_s
        self._waiting = ""
        self._parts = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.lines = 0

    def write(self, text: str) -> int:
        with self._lock:
            self._waiting = (self._waiting + text)[-MOST_CHARACTERS:]
            self.lines += text.count("\n")
        return self._stdout.write(text)

    def flush(self) -> None:
        self._stdout.flush()

    def __enter__(self) -> "LogForwarder":
        sys.stdout = self
        threading.Thread(target=self._keep_storing, name="progress", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.store_now()
        sys.stdout = self._stdout

    def _keep_storing(self) -> None:
        while not self._ended.wait(self._every_s):
            self.store_now()

    def store_now(self) -> None:
        """Errors of the store are only printed: where it stays broken, writing the job's result fails."""
        with self._lock:
            text, self._waiting = self._waiting, ""
            if text and self._parts < MOST_PARTS:
                self._parts += 1
                try:
                    self._store.create(self._files.progress(self._parts), text.encode())
                except Exception as error:
                    self._stdout.write(f"progress could not be stored: {error}\n")
