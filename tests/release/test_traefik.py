import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import pytest
import yaml

from contract.documents import Image
from release.ledger.entries import Traffic
from release.routing.traefik import RouteRefused, TraefikRouter, render
from release.targets.base import Server
from release.targets.process import ProcessTarget
from tests.release.local import LocalHost, ready, until

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.fixture
def router(host) -> TraefikRouter:
    return TraefikRouter(host.serving)


@pytest.fixture
def target(host) -> ProcessTarget:
    return ProcessTarget(host.serving)


def serve(target: ProcessTarget, image: Image, count: int = 1) -> list[Server]:
    target.ensure(image, count)
    until(lambda: len(of(target, image)) == count and all(map(ready, of(target, image))), "servers are ready")
    return of(target, image)


def of(target: ProcessTarget, image: Image) -> list[Server]:
    return [server for server in target.servers() if (server.model, server.digest) == (image.model, image.digest)]


def put(router: TraefikRouter, model: str, weights: dict[str, int], servers: list[Server]) -> None:
    router.route(model, weights, servers)
    until(lambda: router.seen(model) == weights, f"{weights} are in force")


def ask(host: LocalHost, model: str) -> httpx.Response:
    return httpx.post(f"{host.serving.url}/{model}/invocations", json={}, trust_env=False, timeout=15)


def test_requests_reach_the_server_without_the_models_prefix(host, target, router):
    image = host.image(3, "prefixed")
    put(router, "prefixed", {image.digest: 100}, serve(target, image))

    answer = ask(host, "prefixed")

    assert (answer.status_code, answer.json()["version"], answer.json()["path"]) == (200, "3", "/invocations")
    assert httpx.get(f"{host.serving.url}/prefixed", trust_env=False).json() == "/"
    assert httpx.get(f"{host.serving.url}/prefixed_not/ping", trust_env=False).status_code == 404
    target.stop("prefixed", image.digest)


def test_a_large_question_passes(host, target, router):
    """Kept for asking again, whatever its size; how large is too large is the server's to say."""
    image = host.image(1, "large")
    put(router, "large", {image.digest: 100}, serve(target, image))

    answer = httpx.post(f"{host.serving.url}/large/invocations", content=bytes(20_000_000), trust_env=False, timeout=30)

    assert answer.status_code == 200
    target.stop("large", image.digest)


def test_traffic_is_split_by_weight_and_counted_by_digest(host, target, router):
    old, new = host.image(1, "split"), host.image(2, "split")
    put(router, "split", {old.digest: 75, new.digest: 25}, serve(target, old) + serve(target, new))
    assert router.traffic("split") == {}

    versions = Counter(ask(host, "split").json()["version"] for _ in range(80))
    traffic = router.traffic("split")

    assert versions == {"1": 60, "2": 20}
    assert {digest: (t.requests, t.errors, t.client_errors) for digest, t in traffic.items()} == {
        old.digest: (60, 0, 0),
        new.digest: (20, 0, 0),
    }
    assert [t.latency[-1] for t in (traffic[old.digest], traffic[new.digest])] == [(float("inf"), 60), (float("inf"), 20)]
    for image in (old, new):
        target.stop("split", image.digest)


@pytest.mark.parametrize(
    ("behaviour", "counted"),
    [
        ({"status": 400}, Traffic(requests=5, client_errors=5)),
        ({"status": 500}, Traffic(requests=5, errors=5)),
        ({"status": 504}, Traffic(requests=5, errors=5)),
    ],
)
def test_refusals_and_errors_are_told_apart(host, target, router, behaviour, counted):
    model = f"told_{behaviour['status']}"
    image = host.image(1, model, **behaviour)
    put(router, model, {image.digest: 100}, serve(target, image))

    assert [ask(host, model).status_code for _ in range(5)] == [behaviour["status"]] * 5

    assert router.traffic(model) == {image.digest: counted}
    target.stop(model, image.digest)


def test_a_slow_answer_is_in_its_bucket(host, target, router):
    image = host.image(1, "slow", seconds=0.11)
    put(router, "slow", {image.digest: 100}, serve(target, image))

    for _ in range(3):
        ask(host, "slow")
    latency = dict(router.traffic("slow")[image.digest].latency)

    assert (latency[0.1], latency[0.2], latency[float("inf")]) == (0, 3, 3)
    target.stop("slow", image.digest)


def test_a_monitors_requests_are_not_counted(host, target, router):
    image = host.image(1, "watched")
    put(router, "watched", {image.digest: 100}, serve(target, image))

    httpx.get(f"{host.serving.url}/watched/ping", trust_env=False)

    assert router.traffic("watched") == {}
    target.stop("watched", image.digest)


def test_a_model_without_weights_answers_503(host, router):
    put(router, "nobody", {}, [])

    assert ask(host, "nobody").status_code == 503


def test_weights_are_unknown_until_the_routers_servers_are_those_last_routed(host, router):
    servers = [Server(model="moved", digest=OLD, url=f"http://127.0.0.1:{port}", name=str(port)) for port in (1, 2)]
    put(router, "moved", {OLD: 100}, servers[:1])

    os.kill(pid := traefik(host), signal.SIGSTOP)
    try:
        router.route("moved", {OLD: 100}, servers[1:])
        assert router.seen("moved") is None
    finally:
        os.kill(pid, signal.SIGCONT)

    until(lambda: router.seen("moved") == {OLD: 100}, "the new server is in force")


def traefik(host: LocalHost) -> int:
    return next(process.pid for process in psutil.process_iter(["cmdline"]) if is_traefik_of(host, process))


def is_traefik_of(host: LocalHost, process: psutil.Process) -> bool:
    command = process.info["cmdline"] or [""]
    return command[0].endswith("/traefik") and process.cwd() == host.serving.home


def test_a_killed_router_comes_back_with_the_same_routes_and_counts(host, target, router):
    image = host.image(1, "rerouted")
    put(router, "rerouted", {image.digest: 100}, serve(target, image))
    ask(host, "rerouted")
    assert router.traffic("rerouted")[image.digest].requests == 1
    os.kill(pid := traefik(host), signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid), "it is gone")

    until(lambda: router.seen("rerouted") == {image.digest: 100}, "the route is back")

    router.traffic("rerouted")  # as the controller does every second
    assert ask(host, "rerouted").status_code == 200
    assert router.traffic("rerouted")[image.digest].requests == 2
    target.stop("rerouted", image.digest)


def test_a_routed_server_that_is_killed_fails_no_request(host, target, router):
    """Not even one that it was answering: a prediction may be asked again."""
    image = host.image(1, "halved", seconds=0.05)
    servers = serve(target, image, 2)
    put(router, "halved", {image.digest: 100}, servers)

    with Load(host, "halved", {}) as load:
        for server in (*servers, servers[0]):
            os.kill(httpx.post(f"{server.url}/", json={}, trust_env=False).json()["pid"], signal.SIGKILL)
            time.sleep(0.3)
            until(lambda server=server: ready(server), "it is back")
            time.sleep(1.5)  # the router looks once a second

    assert load.codes.keys() == {200}
    assert load.codes[200] > 100
    target.stop("halved", image.digest)


def test_versions_of_the_real_server_replaced_under_load_fail_no_request(host, router):
    target, live = ProcessTarget(host.real_serving), host.real_image(1, "replaced")
    put(router, "replaced", {live.digest: 100}, serve(target, live))

    with Load(host, "replaced", {"inputs": {"distance": [500.0], "speed": [300.0]}}) as load:
        for version in (2, 3):
            new = host.real_image(version, "replaced")
            servers = of(target, live) + serve(target, new)
            for weight in (5, 50):
                put(router, "replaced", {live.digest: 100 - weight, new.digest: weight}, servers)
                time.sleep(0.3)
            put(router, "replaced", {new.digest: 100}, servers)
            time.sleep(0.3)
            target.stop("replaced", live.digest)
            live = new

    assert load.codes.keys() == {200}
    assert load.codes[200] > 300
    assert load.versions.keys() == {"1", "2", "3"}
    target.stop("replaced", live.digest)


class Load:
    """Four clients without a pause: two keep their connections, two open one for each request."""

    def __init__(self, host: LocalHost, model: str, question: dict[str, Any]) -> None:
        self._question = question
        self.codes: Counter[int | str] = Counter()
        self.versions: Counter[str] = Counter()
        self._url = f"{host.serving.url}/{model}/invocations"
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(keep,)) for keep in (True, True, False, False)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, keep: bool) -> None:
        limits = httpx.Limits(max_keepalive_connections=None if keep else 0)
        with httpx.Client(limits=limits, trust_env=False, timeout=15) as client:
            while not self._over.is_set():
                try:
                    answer = client.post(self._url, json=self._question)
                    self.codes[answer.status_code] += 1
                    self.versions[answer.headers.get("X-Model-Version", "")] += 1
                except httpx.TransportError as error:
                    self.codes[repr(error)] += 1


def test_one_server_that_hangs_is_an_error_and_not_an_outage(host, target, router):
    """The router gives up after ten seconds; the other version goes on answering."""
    good, hung = host.image(1, "hung"), host.image(2, "hung", seconds=60)
    put(router, "hung", {good.digest: 50, hung.digest: 50}, serve(target, good) + serve(target, hung))
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(ask(host, "hung").status_code)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(codes) == [200, 200, 504, 504]
    traffic = router.traffic("hung")
    assert (traffic[good.digest].errors, traffic[hung.digest].errors) == (0, 2)
    for image in (good, hung):
        target.stop("hung", image.digest)


def test_an_equal_route_is_not_written_again(host, router):
    path = Path(host.serving.home, "routes", "equal.yml")
    router.route("equal", {}, [])
    before = path.stat().st_ino

    router.route("equal", {}, [])

    assert path.stat().st_ino == before


def test_the_file_has_the_whole_model():
    servers = [Server(model="late", digest=OLD, url=f"http://127.0.0.1:{port}", name=str(port)) for port in (20002, 20001)]
    other = Server(model="early", digest=OLD, url="http://127.0.0.1:20003", name="3")

    http = yaml.safe_load(render("late", {OLD: 100}, [*servers, other]))["http"]

    assert http["routers"]["late"]["rule"] == "(Path(`/late`) || PathPrefix(`/late/`)) && !Path(`/late/replay`)"
    assert http["services"]["late"] == {"weighted": {"services": [{"name": "late-" + "a" * 64, "weight": 100}]}}
    urls = [{"url": "http://127.0.0.1:20001"}, {"url": "http://127.0.0.1:20002"}]
    assert http["services"]["late-" + "a" * 64]["loadBalancer"]["servers"] == urls


@pytest.mark.parametrize("weights", [{OLD: 50, NEW: 50}, {NEW: 100}, {OLD: 99}, {OLD: 101}])
def test_a_weight_without_a_server_or_a_wrong_sum_is_refused(weights):
    server = Server(model="late", digest=OLD, url="http://127.0.0.1:1", name="1")

    with pytest.raises(RouteRefused, match="need 100 percent in sum and a running server each"):
        render("late", weights, [server])
