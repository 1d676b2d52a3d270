"""One line a stage with its seconds, updated while it runs."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUIET_S = 60


class ConsoleLine:
    """The open line of one stage. `detail` may be set while it runs and stays when it ends."""

    def __init__(self, title: str, indent: int = 0):
        self.title = " " * indent + title
        self.detail = ""
        self.seconds: float | None = None
        self.printed_at_s = 0.0
        self._started = time.monotonic()

    def elapsed(self) -> float:
        return self.seconds if self.seconds is not None else time.monotonic() - self._started

    def end(self, seconds: float | None = None) -> None:
        self.seconds = seconds if seconds is not None else self.elapsed()

    def line(self) -> str:
        return f"{self.title:<16}{self.detail:<88.88}{self.elapsed():>6.0f} s"


@contextmanager
def stage(title: str, detail: str = "", indent: int = 0, progress: Callable[[], str] | None = None) -> Iterator[ConsoleLine]:
    """Prints the line when the stage ends; `progress` returns its detail while it runs."""
    line = ConsoleLine(title, indent)
    line.detail = detail
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(line, done, progress), daemon=True)
    watcher.start()
    try:
        yield line
        line.end()
    finally:
        done.set()
        watcher.join()
    show(line)


def _watch(line: ConsoleLine, done: threading.Event, progress: Callable[[], str] | None) -> None:
    while not done.wait(1):
        if progress:
            line.detail = progress() or line.detail
        show_running(line)


def show(line: ConsoleLine) -> None:
    sys.stdout.write(("\r\033[K" if sys.stdout.isatty() else "") + line.line() + "\n")
    sys.stdout.flush()


def show_running(line: ConsoleLine) -> None:
    """On a terminal the line is redrawn each second; in a file it is written again each minute."""
    if sys.stdout.isatty():
        sys.stdout.write("\r\033[K" + line.line())
    elif line.elapsed() - line.printed_at_s >= QUIET_S:
        line.printed_at_s = line.elapsed()
        sys.stdout.write(f"{line.line()} …\n")
    sys.stdout.flush()
