"""Requests a second on one core: this project's server against `mlflow models serve`, the same ONNX model and request."""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import load
from contract.paths import Digest
from demo.live import Live
from demo.paths import HOME, MODEL, ROOT, python_of

RUNS = 3
SECONDS = 8
CONNECTIONS = (8, 32)  # one core is not yet full at 8


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serve(command: list[str], port: int, body: bytes, cwd: Path) -> Iterator[tuple[subprocess.Popen, float]]:
    """The server on core 0, and the seconds from its start to its first right answer."""
    started = time.monotonic()
    path = f"{Path(command[0]).parent}:{os.environ['PATH']}"  # mlflow starts its server by name
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": path}
    process = subprocess.Popen(
        ["taskset", "-c", "0", *command], cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while probability(port, body) is None:
            if process.poll() is not None or time.monotonic() - started > 120:
                sys.exit(f"{command[:4]} did not answer")
            time.sleep(0.02)
        yield process, time.monotonic() - started
    finally:
        process.terminate()
        process.wait(30)


def probability(port: int, body: bytes) -> float | None:
    http_request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(http_request, timeout=30) as answer:
            return json.load(answer)["predictions"][0]["probability"]
    except OSError:
        return None


def memory_mb(pid: int) -> float:
    """Proportional memory of a process and its children."""
    family = [pid, *(int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    rollups = (Path(f"/proc/{member}/smaps_rollup").read_text() for member in family)
    return sum(int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1]) for text in rollups) / 1024


def measure(name: str, command: list[str], port: int, body: bytes, cwd: Path) -> tuple[dict[int, float], float]:
    """Requests a second by number of connections, and the predicted probability."""
    with serve(command, port, body, cwd) as (process, start_s):
        url = f"http://127.0.0.1:{port}/invocations"
        rates = {}
        for connections in CONNECTIONS:
            load.run(url, body, connections, 2)
            result = load.run(url, body, connections, SECONDS)
            rates[connections] = result.per_second
            print(
                f"  {name:<20} {connections:>3} connections {result.per_second:>6.0f} req/s  p50 {result.p50_ms:6.2f} ms  "
                f"p99 {result.p99_ms:6.2f} ms  failures {result.failures}  "
                f"start {start_s:3.1f} s  memory {memory_mb(process.pid):3.0f} MB",
                flush=True,
            )
        return rates, probability(port, body)


def commands(model: Path, target: Path, port: int) -> dict[str, list[str]]:
    here = ["--host", "127.0.0.1"]
    return {
        "this project": [python_of("serving"), "-m", "serving", "--model", str(model), *here, "--port", str(port)],
        "mlflow models serve": [
            *(python_of("spark"), "-m", "mlflow", "models", "serve", "--model-uri", str(target)),
            *(*here, "--port", str(port), "--env-manager", "local"),
        ],
    }


def main() -> None:
    os.sched_setaffinity(0, {1})  # the client's core
    live = Live()
    image, golden = live.champion(MODEL), live.golden_rows(MODEL)
    if image is None:
        sys.exit("nothing is live: run `make demo` first")
    unpacked = HOME / "serving" / "images" / Digest(image.digest).hex
    model, target = unpacked / "models" / "current", ROOT / ".build" / "mlflow-model"
    shutil.rmtree(target, ignore_errors=True)
    script = ROOT / "benchmarks" / "mlflow_model.py"
    subprocess.run([python_of("spark"), str(script), str(model), str(target)], check=True, capture_output=True)
    row = next(row for row in golden.rows if None not in row)
    body = json.dumps({"dataframe_split": {"columns": golden.columns, "data": [row]}}).encode()
    ratios = {connections: [] for connections in CONNECTIONS}
    print(f"one core, the same model and request, {SECONDS} s a run")
    for _ in range(RUNS):
        port = free_port()
        (ours, said), (theirs, also_said) = (
            measure(name, command, port, body, unpacked / "app") for name, command in commands(model, target, port).items()
        )
        if abs(said - also_said) > 1e-9:
            sys.exit(f"the servers differ: {said} and {also_said}")
        for connections, values in ratios.items():
            values.append(ours[connections] / theirs[connections])
    for connections, values in ratios.items():
        spread = f"median {statistics.median(values):.0f} (from {min(values):.0f} to {max(values):.0f})"
        print(f"  ratio at {connections} connections: {spread}, target ≥ 20")


if __name__ == "__main__":
    main()
