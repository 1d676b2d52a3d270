"""Requests a second on one core: this project's server against `mlflow models serve`, the same ONNX model, one row a request."""

import json
import os
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
from demo.live import Live
from demo.place import HOME, MODEL, ROOT, python_of

RUNS = 3
SECONDS = 8
CONNECTIONS = 8


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
        while not answers(port, body):
            if process.poll() is not None or time.monotonic() - started > 120:
                sys.exit(f"{command[:4]} did not answer")
            time.sleep(0.02)
        yield process, time.monotonic() - started
    finally:
        process.terminate()
        process.wait(30)


def answers(port: int, body: bytes) -> bool:
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return "predictions" in json.load(answer)
    except OSError:
        return False


def memory_mb(pid: int) -> float:
    """Proportional memory of a process and its children."""
    family = [pid, *(int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    rollups = (Path(f"/proc/{member}/smaps_rollup").read_text() for member in family)
    return sum(int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1]) for text in rollups) / 1024


def measure(name: str, command: list[str], port: int, body: bytes, cwd: Path) -> float:
    with serve(command, port, body, cwd) as (process, start_s):
        url = f"http://127.0.0.1:{port}/invocations"
        load.run(url, body, CONNECTIONS, 2)
        result = load.run(url, body, CONNECTIONS, SECONDS)
        print(
            f"  {name:<22} {result.per_second:>8.0f} req/s  p50 {result.p50_ms:6.2f} ms  p99 {result.p99_ms:7.2f} ms  "
            f"failures {result.failures}  start {start_s:4.1f} s  memory {memory_mb(process.pid):4.0f} MB",
            flush=True,
        )
        return result.per_second


def onnx_as_mlflow_model(folder: Path, target: Path) -> None:
    """What a user of MLflow would log: the same graph in its ONNX flavor."""
    script = (
        "import sys, onnx, mlflow.onnx; "
        "mlflow.onnx.save_model(onnx.load(sys.argv[1]), sys.argv[2], pip_requirements=['onnxruntime'])"
    )
    subprocess.run([python_of("spark"), "-c", script, str(folder / "model.onnx"), str(target)], check=True, capture_output=True)


def main() -> None:
    os.sched_setaffinity(0, {1})  # the client's core
    live = Live()
    image, golden = live.champion(MODEL), live.golden_rows(MODEL)
    if image is None:
        sys.exit("nothing is live: run `make demo` first")
    unpacked = HOME / "serving" / "images" / image.digest.removeprefix("sha256:")
    model = unpacked / "models" / "current"
    shape = json.loads((model / "model.json").read_text())
    target = ROOT / ".build" / "mlflow-model"
    if not target.exists():
        onnx_as_mlflow_model(model, target)
    whole = next(row for row in golden.rows if None not in row)  # MLflow's server takes no nulls in tensors
    row = dict(zip(golden.columns, whole, strict=True))
    ours = json.dumps({"dataframe_split": {"columns": golden.columns, "data": [whole]}}).encode()
    tensors = {"numeric": [[row[name] for name in shape["numeric"]]], "categorical": [[row[name] for name in shape["categorical"]]]}
    theirs = json.dumps({"inputs": tensors}).encode()
    ratios = []
    print(f"one core, {CONNECTIONS} connections, {SECONDS} s a run")
    for _ in range(RUNS):
        port = free_port()
        served = [python_of("serving"), "-m", "serving", "--model", str(model), "--host", "127.0.0.1", "--port", str(port)]
        rate = measure("this project", served, port, ours, unpacked / "app")
        port = free_port()
        mlflow = [
            python_of("spark"),
            "-m",
            "mlflow",
            "models",
            "serve",
            "-m",
            str(target),
            "-p",
            str(port),
            "--env-manager",
            "local",
        ]
        ratios.append(rate / measure("mlflow models serve", mlflow, port, theirs, ROOT))
    print(f"  ratio: median {statistics.median(ratios):.0f} (from {min(ratios):.0f} to {max(ratios):.0f}), wanted ≥ 20")


if __name__ == "__main__":
    main()
