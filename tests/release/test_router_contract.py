"""What every Router promises, asked of the real one and of the fake that other tests stand on."""

import itertools
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple

import httpx
import pytest

from release.routing.traefik import RouteRefused, TraefikRouter
from release.targets.base import Router, Server
from tests.release.fakes import FakeRouter, digest_of
from tests.release.local import LocalHost, until

OLD, NEW = digest_of(1), digest_of(2)
MODELS = (f"contract_{n}" for n in itertools.count())  # the real router is shared: counters of an earlier test must not count


class Bench(NamedTuple):
    router: Router
    silent: Router
    model: str
    url: str
    send: Callable[[str, int], None]

    def server(self, digest: str) -> Server:
        return Server(model=self.model, digest=digest, url=self.url, name=digest[-4:])

    def put(self, weights: dict[str, int]) -> None:
        self.router.route(self.model, weights, [self.server(digest) for digest in weights])
        until(lambda: self.router.seen(self.model) == weights, f"{weights} are in force")


@pytest.fixture(params=["fake", "real"])
def bench(request) -> Bench:
    if request.param == "fake":
        router, silent = FakeRouter(), FakeRouter()
        silent.silent = True
        return Bench(router, silent, "late", "http://127.0.0.1:1", router.serve)
    host: LocalHost = request.getfixturevalue("host")
    nowhere = host.serving.model_copy(update={"router_api": "http://127.0.0.1:1"})
    url = request.getfixturevalue("answering")
    return Bench(TraefikRouter(host.serving), TraefikRouter(nowhere), next(MODELS), url, lambda model, n: post(host, model, n))


def post(host: LocalHost, model: str, requests: int) -> None:
    for _ in range(requests):
        httpx.post(f"{host.serving.url}/{model}/invocations", trust_env=False).raise_for_status()


@pytest.fixture
def answering() -> Iterator[str]:
    """The address of something that answers every request with 200."""

    class Ok(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self):
            self.do_POST()

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Ok) as server:
        Thread(target=server.serve_forever, args=(0.02,)).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_model_that_was_never_routed_is_unknown(bench):
    assert bench.router.seen(bench.model) is None


def test_what_was_routed_is_read_back_and_the_last_route_counts(bench):
    for weights in ({OLD: 100}, {OLD: 95, NEW: 5}, {NEW: 100}):
        bench.put(weights)

    assert bench.router.seen(bench.model) == {NEW: 100}


def test_a_model_may_be_routed_to_nobody(bench):
    bench.put({OLD: 100})

    bench.put({})

    assert bench.router.seen(bench.model) == {}


def test_a_weight_without_a_server_is_refused_and_the_old_route_stays(bench):
    bench.put({OLD: 100})

    with pytest.raises(RouteRefused):
        bench.router.route(bench.model, {OLD: 50, NEW: 50}, [bench.server(OLD)])

    assert bench.router.seen(bench.model) == {OLD: 100}


def test_requests_are_counted_by_digest_and_what_was_never_asked_is_absent(bench):
    bench.put({OLD: 75, NEW: 25})
    assert bench.router.traffic(bench.model) == {}

    bench.send(bench.model, 20)
    counted = bench.router.traffic(bench.model)

    assert {digest: (t.requests, t.errors, t.client_errors) for digest, t in counted.items()} == {OLD: (15, 0, 0), NEW: (5, 0, 0)}
    for digest, requests in {OLD: 15, NEW: 5}.items():
        bounds, counts = zip(*counted[digest].latency, strict=True)
        assert bounds[-1] == float("inf")
        assert counts[-1] == requests
        assert list(bounds) == sorted(bounds)
        assert list(counts) == sorted(counts)


def test_counters_only_grow_whatever_the_weights(bench):
    bench.put({OLD: 100})
    bench.send(bench.model, 4)
    bench.put({OLD: 50, NEW: 50})
    bench.send(bench.model, 4)

    assert bench.router.traffic(bench.model)[OLD].requests == 6

    bench.put({NEW: 100})
    bench.send(bench.model, 4)

    assert {digest: counted.requests for digest, counted in bench.router.traffic(bench.model).items()} == {OLD: 6, NEW: 6}


def test_a_router_that_does_not_tell_knows_nothing(bench):
    bench.silent.route(bench.model, {OLD: 100}, [bench.server(OLD)])

    assert bench.silent.seen(bench.model) is None
    assert bench.silent.traffic(bench.model) is None
