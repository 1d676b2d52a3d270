"""What Traefik really counts while versions behave so and so, for tests/release/recorded: `-m tests.release.record_series`."""

import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from contract.documents import Image
from release.routing.traefik import TraefikRouter
from release.targets.process import ProcessTarget
from tests.release.local import LocalHost, ready, until

FOLDER = Path(__file__).parent / "recorded"
SECONDS, CLIENTS = 10, 4


@contextmanager
def clients(url: str) -> Iterator[None]:
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=15) as client:
            while not over.wait(0.02):
                try:
                    client.post(f"{url}/invocations", content=b"{}")
                except httpx.TransportError:
                    continue

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    yield
    over.set()
    for thread in threads:
        thread.join()


def record(host: LocalHost, name: str, new: Image, old: Image, fault: Callable[[], None] = lambda: None) -> None:
    """One look a second, half of the traffic to each; `fault` comes after four of them."""
    target, router = ProcessTarget(host.serving), TraefikRouter(host.serving)
    for image in (new, old):
        target.ensure(image, 2)
    until(lambda: sum(map(ready, mine(target, new))) == 4, "all are ready")
    weights = {new.digest: 50, old.digest: 50}
    router.route(new.model, weights, mine(target, new))
    until(lambda: router.seen(new.model) == weights, "the router has the weights")
    samples = []
    with clients(f"{host.serving.url}/{new.model}"):
        for second in range(SECONDS):
            time.sleep(1)
            counted = TraefikRouter(host.serving).traffic(new.model) or {}  # one without a memory: what Traefik itself says
            samples.append([counted[d].model_dump(mode="json") if d in counted else None for d in (new.digest, old.digest)])
            if second == 3:
                fault()
    (FOLDER / f"{name}.json").write_text(json.dumps(samples, separators=(",", ":")) + "\n")
    print(name, [sample[0] and (sample[0]["requests"], sample[0]["errors"], sample[0]["client_errors"]) for sample in samples])


def mine(target: ProcessTarget, image: Image) -> list:
    return [server for server in target.servers() if server.model == image.model]


def kill_servers(host: LocalHost, image: Image) -> None:
    ports = {server.url.rpartition(":")[2] for server in ProcessTarget(host.serving).servers() if server.digest == image.digest}
    kill("python", lambda process: process.cmdline()[-1] in ports)


def kill_router(host: LocalHost) -> None:
    kill("traefik", lambda process: process.cwd() == host.serving.home)


def kill(name: str, chosen: Callable[[psutil.Process], bool]) -> None:
    running = [
        candidate
        for candidate in psutil.process_iter()
        if candidate.name().startswith(name) and candidate.status() != psutil.STATUS_ZOMBIE
    ]
    killed = [process for process in running if chosen(process)]
    assert killed
    for process in killed:
        process.kill()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    behaviours = {"good": {}, "failing": {"status": 500}, "refusing": {"status": 422}, "slow": {"seconds": 0.08}}
    with tempfile.TemporaryDirectory(prefix="host-") as folder:
        host = LocalHost(Path(folder))
        host.start()
        try:
            for name, behaviour in behaviours.items():
                record(host, name, host.image(2, name, **behaviour), host.image(1, name, seconds=0.001))
            new, old = host.image(2, "killed", seconds=0.002), host.image(1, "killed", seconds=0.001)
            record(host, "killed", new, old, lambda: kill_servers(host, new))
            new, old = host.image(2, "restarted", seconds=0.002), host.image(1, "restarted", seconds=0.001)
            record(host, "restarted", new, old, lambda: kill_router(host))
        finally:
            host.stop()


if __name__ == "__main__":
    main()
