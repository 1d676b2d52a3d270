"""The real server's last requests, asked of it and of another; only the first test goes by image, supervisor and router."""

import http.client
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import log
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.documents import ReplayResult
from contract.serving import Serving, replay_env
from images.base import embedded_base
from images.package import Contents, package
from images.references import repository_of
from release.ledger.entries import PredictionHistogram
from release.probes.prediction_counts import PredictionCounts
from release.probes.replay import replay
from release.routing.traefik import TraefikRouter
from release.targets.base import Server
from release.targets.process import ProcessTarget
from tests.release.local import ROOT, free_ports, ready, until

MODELS = ROOT / "tests/serving/models"
COLUMNS = ["dep_delay", "distance", "carrier"]
KEEP = {"REPLAY_REQUESTS": "50"}
MASK = {**KEEP, "REPLAY_MASK": "carrier"}
WAYS = (
    "/replay",
    "//replay",
    "/./replay",
    "/x/../replay",
    "/%72eplay",
    "/%2Freplay",
    "/x%2F..%2Freplay",
    "/replay?x=1",
    "/replay/",
)
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.fixture
def served(tmp_path) -> Iterator[Callable[..., Server]]:
    """Starts the real server with a copy of one of its tests' models; `altered` gets the files by name and changes them."""
    started: list[subprocess.Popen] = []

    def serve(model: str, digest: str = OLD, altered: Callable[[dict[str, bytes]], None] = dict.keys, **environment: str) -> Server:
        files = {path.name: path.read_bytes() for path in (MODELS / model).iterdir()}
        altered(files)
        folder = tmp_path / str(len(started))
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        (port,) = free_ports(1)
        command = [ROOT / ".venv/serving/bin/python", "-m", "serving", "--model", str(folder), "--port", str(port)]
        environment |= {"MODEL_NAME": "late", "MODEL_VERSION": "1", "IMAGE_DIGEST": digest}
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL))
        server = Server(model="late", digest=digest, url=f"http://127.0.0.1:{port}", name=f"late-{len(started)}")
        until(lambda: ready(server), "the server is ready")
        return server

    yield serve
    for process in started:
        process.send_signal(signal.SIGCONT)
        process.terminate()
    for process in started:
        process.wait(40)


def constant(old: float, new: float) -> Callable[[dict[str, bytes]], None]:
    """One number in the graph becomes another."""

    def alter(files: dict[str, bytes]) -> None:
        before, after = (struct.pack("<d", number) for number in (old, new))
        assert files["model.onnx"].count(before) == 1
        files["model.onnx"] = files["model.onnx"].replace(before, after)

    return alter


def described(old: str, new: str) -> Callable[[dict[str, bytes]], None]:
    def alter(files: dict[str, bytes]) -> None:
        assert old.encode() in files["model.json"]
        files["model.json"] = files["model.json"].replace(old.encode(), new.encode())

    return alter


def ask(server: Server, *rows: list[Any], columns: list[str] = COLUMNS) -> httpx.Response:
    body = {"dataframe_split": {"columns": columns, "data": rows}}
    time.sleep(0.01)  # of a burst not every request is kept
    return httpx.post(f"{server.url}/invocations", json=body, trust_env=False).raise_for_status()


def kept(server: Server) -> list[dict[str, Any]]:
    return httpx.get(f"{server.url}/replay", trust_env=False).json()["requests"]


@pytest.fixture(scope="module")
def routed(host) -> Iterator[Server]:
    """Of an image whose spec wants requests kept, started by supervisord, behind the router as `replayed`."""
    env = replay_env(Serving.model_validate({"replay": {"requests": 9, "mask": ["speed"]}}))
    files = {path.name: path.read_bytes() for path in (MODELS / "regression").iterdir()}
    contents = Contents("replayed", 1, datetime(2013, 5, 1, tzinfo=UTC), files, {}, {**env, "LD_PRELOAD": "/nowhere.so"})
    repository = repository_of(host.platform.images.repository, "replayed")
    image = package(contents, embedded_base(ROOT / "serving", repository), repository)
    target, router = ProcessTarget(host.real_serving), TraefikRouter(host.serving)
    target.ensure(image, 1)
    (server,) = until(
        lambda: [candidate for candidate in target.servers() if candidate.digest == image.digest and ready(candidate)],
        "it is ready",
    )
    router.route("replayed", {image.digest: 100}, [server])
    until(lambda: router.seen("replayed") == {image.digest: 100}, "it is routed")
    body = {"inputs": {"distance": [500.0], "speed": [300.0]}}
    httpx.post(f"{host.serving.url}/replayed/invocations", json=body, trust_env=False).raise_for_status()
    yield server
    target.stop("replayed", image.digest)


def test_a_spec_makes_the_hosts_servers_keep_requests(routed):
    assert kept(routed) == [{"columns": ["distance", "speed"], "rows": [[500.0, None]]}]


def test_of_an_images_environment_only_that_is_passed_on(host, routed):
    program = Path(host.serving.home, "servers", f"{routed.name}.conf").read_text()

    assert "REPLAY_REQUESTS=9 REPLAY_MASK=speed" in program
    assert "LD_PRELOAD" not in program


@pytest.mark.parametrize("way", WAYS)
def test_no_client_reads_them_through_the_router(host, routed, way):
    connection = http.client.HTTPConnection(host.serving.url.removeprefix("http://"), timeout=10)
    connection.request("GET", f"/replayed{way}")  # as it is: other clients would tidy it up
    answer = connection.getresponse()

    assert answer.status in (400, 404)
    assert b"500" not in answer.read()
    connection.close()


def test_without_replay_in_the_spec_an_image_says_nothing_of_it():
    assert replay_env(Serving()) == {}


def test_equal_versions_answer_alike(served):
    live, new = served("binary", **KEEP), served("binary", NEW)
    ask(live, [20, 0, "AA"])
    ask(live, [20, 0, "UA"], [None, None, None])

    result = replay(new, [live], COLUMNS)

    assert result.p95_ms > 0
    assert result.p95_ms_live > 0
    assert result.model_copy(update={"p95_ms": None, "p95_ms_live": None}) == ReplayResult(
        requests=2, rows=3, refused=0, changed_share=0.0, mean_difference=0.0, largest_difference=0.0
    )


@pytest.mark.parametrize(
    ("model", "altered", "columns", "rows", "largest", "mean"),
    [
        # -1 + ln 3 as intercept: of two rows p goes from 1/2 to 3/4, and from 1/4 to 1/2
        ("binary", constant(-1.0, -1 + log(3)), COLUMNS, [[20, 0, "x"], [20, 0, "UA"]], 0.25, 0.25),
        # red counts 6 times instead of twice: (1/4, 1/2, 1/4) becomes (1/8, 3/4, 1/8); blue stays (1/3, 1/3, 1/3)
        ("multiclass", constant(log(2), log(6)), ["size", "colour"], [[0, "red"], [0, "blue"]], 0.25, 0.125),
        ("regression", constant(10.0, 12.5), ["distance", "speed"], [[100, 50], [7, 1]], 2.5, 2.5),
    ],
)
def test_answers_that_moved_are_measured_in_the_tasks_unit(served, model, altered, columns, rows, largest, mean):
    live, new = served(model, **KEEP), served(model, NEW, altered)
    for row in rows:
        ask(live, row, columns=columns)

    result = replay(new, [live], columns)

    assert (result.requests, result.rows, result.refused, result.problem) == (2, 2, 0, "")
    assert (result.largest_difference, result.mean_difference) == (pytest.approx(largest), pytest.approx(mean))
    assert result.changed_share == (0.5 if model == "multiclass" else 1.0)


def test_both_are_asked_anew_without_the_masked_values(served):
    """Carrier AA moves by ln 3 in the new version: it shows where AA is asked, and not where it is hidden."""
    moved = constant(log(3), 2 * log(3))
    for environment, largest in ((KEEP, 9 / 10 - 3 / 4), (MASK, 0.0)):
        live, new = served("binary", **environment), served("binary", NEW, moved)
        ask(live, [20, 0, "AA"])

        assert replay(new, [live], COLUMNS).largest_difference == pytest.approx(largest)


def test_every_live_server_is_heard_and_what_was_replayed_is_not_kept_again(served):
    servers = [served("binary", **KEEP) for _ in range(2)]
    new = served("binary", NEW, **KEEP)
    for delay, server in enumerate([*servers, servers[0]]):
        ask(server, [delay, 0, "AA"])
    before = [kept(server) for server in servers]

    result = replay(new, servers, COLUMNS)

    assert (result.requests, result.refused) == (3, 0)
    assert [kept(server) for server in (*servers, new)] == [*before, []]


def test_what_only_the_new_version_refuses_is_counted(served):
    """It was never trained on blue, and takes known levels only."""
    live = served("multiclass", **KEEP)
    new = served("multiclass", NEW, described('"blue"', '"azure"'))
    for colour in ("red", "blue", "red"):
        ask(live, [1, colour], columns=["size", "colour"])

    result = replay(new, [live], ["size", "colour"])

    assert (result.requests, result.rows, result.refused, result.changed_share, result.problem) == (3, 2, 1, 0.0, "")


def test_other_columns_are_refused_and_said(served):
    live = served("regression", **KEEP)
    new = served("regression", NEW, described('"speed"', '"pace"'))
    ask(live, [100, 50], columns=["distance", "speed"])

    result = replay(new, [live], ["distance", "pace"])

    mismatch = "the new version answers none of 1 requests as the live one does: it also asks for pace; it no longer knows speed"
    assert result == ReplayResult(requests=1, rows=0, refused=1, problem=mismatch)


def test_a_new_version_of_another_task_answers_otherwise(served):
    live = served("regression", **KEEP)
    new = served("multiclass", NEW, takes_the_columns_of_the_regression)
    ask(live, [100, None], columns=["distance", "speed"])

    result = replay(new, [live], ["distance", "speed"])

    assert (result.refused, result.problem) == (1, "the new version answers none of 1 requests as the live one does")


def takes_the_columns_of_the_regression(files: dict[str, bytes]) -> None:
    described('["size"]', '["distance"]')(files)
    described('["colour"]', '["speed"]')(files)
    described('{"colour": ["red", "blue"]}', "{}")(files)


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({}, "the live version keeps no requests: it was packaged without serving.replay"),
        (KEEP, "the live version has kept no request yet"),
    ],
)
def test_where_nothing_was_kept_that_is_said(served, environment, problem):
    live = served("regression", **environment)

    assert replay(live, [live], ["distance", "speed"]) == ReplayResult(requests=0, rows=0, refused=0, problem=problem)


def test_without_an_answering_live_server_that_is_said():
    gone = Server(model="late", digest=OLD, url="http://127.0.0.1:1", name="late-0")

    assert replay(gone, [], COLUMNS).problem == "no server of the live version runs"
    assert replay(gone, [gone], COLUMNS).problem == "late-0 did not return its last requests (ConnectError); read its log"


def test_a_masked_value_that_the_live_version_needs_leaves_nothing_to_compare(served):
    live, new = served("multiclass", REPLAY_REQUESTS="9", REPLAY_MASK="colour"), served("multiclass", NEW)
    ask(live, [1, "red"], columns=["size", "colour"])

    problem = "the live version answered none of its 1 last requests when asked again without masked values"
    assert replay(new, [live], ["size", "colour"]) == ReplayResult(requests=0, rows=0, refused=0, problem=problem)


@contextmanager
def answering(respond: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Server]:
    """A server that is none of ours."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            respond(self)

        def do_GET(self) -> None:
            respond(self)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield Server(model="late", digest=NEW, url=f"http://127.0.0.1:{server.server_port}", name="late-9")
    server.shutdown()
    server.server_close()


def endless(handler: BaseHTTPRequestHandler) -> None:
    """A byte now and then: no single read takes long."""
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b" ")
            time.sleep(0.05)
    except OSError:
        pass


def huge(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(bytes(2**20))
    except OSError:
        pass


@pytest.mark.parametrize("respond", [endless, huge])
def test_time_and_bytes_are_bounded(served, respond):
    live = served("binary", **KEEP)
    for delay in range(50):
        ask(live, [delay, 0, "AA"])

    with answering(respond) as other:
        begun = time.monotonic()
        result = replay(other, [live], COLUMNS, within_s=2.0)
        kept = replay(live, [other], COLUMNS, within_s=2.0)

    assert time.monotonic() - begun < 5
    assert (result.rows, kept.problem) == (0, "late-9 did not return its last requests (ReadError); read its log")


def test_answers_are_summed_over_a_digests_servers_and_grow_over_a_restart(served):
    first, second = served("binary"), served("binary")
    ask(first, [22, 0, "AA"], [22, 0, "UA"])  # 0.768 and 0.269
    ask(second, [22, 0, "AA"])
    answers = PredictionCounts()
    stranger = second.model_copy(update={"digest": NEW, "name": "late-8"})  # an address that has changed hands
    gone = first.model_copy(update={"url": "http://127.0.0.1:1", "name": "late-7"})

    before = answers.predictions("late", [first, second, stranger, gone])
    restarted = served("binary").model_copy(update={"name": first.name})
    ask(restarted, [22, 0, "UA"])
    after = answers.predictions("late", [restarted, second])

    assert before == {OLD: PredictionHistogram(rows={"0.25": 1, "0.75": 2}, squares=5)}
    assert after == {OLD: PredictionHistogram(rows={"0.25": 2, "0.75": 2}, squares=6)}
