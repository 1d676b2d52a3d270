"""What the router costs: wrk through it and straight to the servers behind it, in turns, with one server and with two.

`python -m benchmarks.straight`, four minutes. Nothing is pinned: wrk, the router and the servers share the cores.
"""

import json
import shutil
import subprocess
import tempfile
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks.figures import keep, spread
from benchmarks.host import BODY, MODEL, Host, serving_host
from contract.serving import Serving

SECONDS, REPEATS = 4, 6
CONNECTIONS = (16, 32)
SERVERS = (1, 2)
# One thread for each server; without the router each thread has a server of its own.
SCRIPT = """
local ports, n = {{ {ports} }}, 0
function setup(thread)
  n = n + 1
  thread.addr = wrk.lookup("127.0.0.1", ports[(n - 1) % #ports + 1])[1]
end
wrk.method, wrk.body, wrk.headers["Content-Type"] = "POST", [==[{body}]==], "application/json"
function done(summary, latency, requests)
  local e = summary.errors
  print(string.format('{{"requests": %d, "failed": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f}}', summary.requests,
    e.connect + e.read + e.write + e.status + e.timeout, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3))
end
"""


class Load(NamedTuple):
    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


def wrk(urls: list[str], threads: int, connections: int, seconds: int) -> Load:
    ports = ", ".join(f'"{urlsplit(url).port}"' for url in urls)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT.format(ports=ports, body=BODY.decode()))
        script.flush()
        command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "-s", script.name, urls[0]]
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    summary = json.loads(output.strip().rpartition("\n")[2])
    return Load(summary["requests"] / summary["seconds"], summary["p50_ms"], summary["p99_ms"], summary["failed"])


def put_live(host: Host) -> list[str]:
    """Releases a version; returns the URLs of its servers."""
    first = host.image(1)
    for kind in ("check", "release"):
        host.outcome(host.request(kind, first, Serving(hold="1s")))
    return [f"{server.url}/invocations" for server in host.target.servers() if server.model == MODEL]


def measure(servers: int) -> list[dict[str, Any]]:
    with serving_host(servers) as host:
        ways = {"straight": put_live(host), "router": [host.url]}
        for urls in ways.values():
            wrk(urls, servers, CONNECTIONS[0], 2)  # warm-up
        return [compare(ways, servers, connections) for connections in CONNECTIONS]


def compare(ways: dict[str, list[str]], servers: int, connections: int) -> dict[str, Any]:
    loads: dict[str, list[Load]] = {"straight": [], "router": []}
    for repeat in range(REPEATS):
        for way in sorted(ways, reverse=repeat % 2 == 0):  # each goes first in turn
            loads[way].append(wrk(ways[way], servers, connections, SECONDS))
    ratios = [routed.per_second / alone.per_second for routed, alone in zip(loads["router"], loads["straight"], strict=True)]
    tell(f"{servers} server(s), {connections} connections", loads, ratios)
    runs = {way: [run._asdict() for run in runs] for way, runs in loads.items()}
    return {"servers": servers, "connections": connections, "throughput_to_straight": ratios, **runs}


def tell(title: str, loads: dict[str, list[Load]], ratios: list[float]) -> None:
    print(f"{title}: the router passes {spread(ratios)} of the throughput straight to them")
    for way, runs in loads.items():
        print(
            f"  {way:<8} {spread([run.per_second for run in runs], 0)} requests/s; p50 {spread([run.p50_ms for run in runs])} ms; "
            f"p99 {spread([run.p99_ms for run in runs])} ms; {sum(run.failed for run in runs)} failed",
            flush=True,
        )


def main() -> None:
    if shutil.which("wrk") is None:
        print("the router is not measured: wrk is not installed (apt install wrk)")
        return
    keep("straight", {"seconds": SECONDS, "cells": [cell for servers in SERVERS for cell in measure(servers)]})


if __name__ == "__main__":
    main()
