"""Real faults for `make demo-failures`: broken data, a damaged image, a slow server."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.documents import Image
from contract.paths import Digest
from demo.live import Live
from demo.paths import HOME, ROOT, python_of

STOPPED_S = 0.25
AWAKE_S = 0.05


def faulty_data(fault: str, as_of: str) -> str:
    """URI of a faulty copy of the demo's data: a local path, also for a cluster, whose nodes are on this machine."""
    out = HOME / "what-if" / fault
    command = [
        python_of("spark"),
        "-m",
        "demo.corrupt",
        fault,
        "--data",
        str(HOME / "data"),
        "--out",
        str(out),
        "--as-of",
        as_of[:10],
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    return f"file://{out}"


def damage_model_layer(image: Image) -> None:
    """Inverts one byte of the model's layer, as a failing disk would."""
    folder = Path(image.reference.removeprefix("oci:").split("@")[0])
    blobs = folder / "blobs" / "sha256"
    manifest = json.loads((blobs / Digest(image.digest).hex).read_text())
    blob = blobs / Digest(manifest["layers"][-1]["digest"]).hex
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 0xFF
    blob.chmod(0o644)
    blob.write_bytes(content)


@contextmanager
def controller_stopped() -> Iterator[None]:
    """The release controller is down inside; requests to it wait in the ledger."""
    _serving_control("stop", "controller")
    try:
        yield
    finally:
        _serving_control("start", "controller")


def _serving_control(*words: str) -> str:
    socket = HOME / "serving" / "supervisor.sock"
    command = [python_of("release"), "-m", "supervisor.supervisorctl", "-s", f"unix://{socket}", *words]
    return subprocess.run(command, capture_output=True, text=True).stdout


class SlowedDown:
    """From the moment a new version takes traffic, its processes are stopped most of the time: it answers, but slowly."""

    def __init__(self, live: Live, model: str):
        self._live = live
        self._model = model
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._slow, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _slow(self) -> None:
        while not self._over.is_set():
            pids = self._canary_pids()
            _send(pids, signal.SIGSTOP)
            self._over.wait(STOPPED_S if pids else 0.1)
            _send(pids, signal.SIGCONT)
            time.sleep(AWAKE_S)

    def _canary_pids(self) -> list[int]:
        last = self._live.ledger.last(self._model)
        active = last.state.active if last else None
        if active is None or active.percent == 0:
            return []
        return [int(pid) for pid in _pids_of(active.image.digest)]


def _pids_of(digest: str) -> list[str]:
    """Processes whose environment names the digest."""
    variable = f"IMAGE_DIGEST={digest}".encode()
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if variable in (folder / "environ").read_bytes().split(b"\0"):
                pids.append(folder.name)
        except OSError:
            continue
    return pids


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
