"""Golden rows asked over real HTTP of a small server whose answers each test chooses."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from contract.documents import GoldenRows
from contract.serving import Serving
from release.probes.golden_rows import HttpProbe, ProbeResult, decide
from release.targets.base import Server

GOLDEN = GoldenRows(
    columns=("distance", "carrier"),
    rows=((100.0, "AA"), (200.0, None)),
    expected=((0.75, 0.25), (0.5, 0.5)),
)
LIMITS = Serving(max_p95="50ms", max_memory_mb=300)


def binary(probability: float) -> dict[str, Any]:
    return {"prediction": 0, "probability": probability}


@contextmanager
def serving(answer: Callable[[list], tuple[int, Any]], digest: str = "sha256:1") -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet

        def do_GET(self) -> None:
            self.send(200, self.path)

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert request["dataframe_split"]["columns"] == ["distance", "carrier"]
            self.send(*answer(request["dataframe_split"]["data"]))

        def send(self, status: int, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Image-Digest", digest)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    yield Server(model="late", digest="sha256:1", url=f"http://127.0.0.1:{http.server_port}", name="late-1")
    http.shutdown()
    http.server_close()


def right(rows: list) -> tuple[int, Any]:
    return 200, {"predictions": [binary({100.0: 0.25, 200.0: 0.5}[row[0]]) for row in rows]}


def test_right_answers_have_parity_and_a_latency():
    with serving(right) as server:
        answers = HttpProbe().measure(server, GOLDEN)
    assert (answers.parity, answers.problem) == (0.0, "")
    assert 0 < answers.p95_ms < 5000


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        ({"prediction": 12.5}, (12.5,)),
        ({"prediction": "a", "probabilities": {"a": 0.5, "b": 0.25, "c": 0.25}}, (0.5, 0.25, 0.25)),
    ],
)
def test_other_tasks_are_compared_by_their_numbers(prediction, expected):
    golden = GOLDEN.model_copy(update={"expected": (expected, expected)})
    with serving(lambda rows: (200, {"predictions": [prediction] * len(rows)})) as server:
        assert HttpProbe().measure(server, golden).parity == 0.0


def test_the_worst_row_is_named():
    with serving(lambda rows: (200, {"predictions": [binary(0.25)] * len(rows)})) as server:
        answers = HttpProbe().measure(server, GOLDEN)
    assert answers.parity == 0.25
    assert answers.worst == "golden row 2: the server says 0.75, 0.25, Spark said 0.5, 0.5"


@pytest.mark.parametrize(
    ("status", "content", "problem"),
    [
        (500, {"error": "no"}, 'the golden rows were answered with status 500: {"error": "no"}'),
        (200, {"predictions": []}, "2 golden rows were sent, 0 predictions came back"),
        (200, {"predictions": [{"prediction": "a"}] * 2}, "prediction {'prediction': 'a'} has no number"),
        (200, [1], "the answer holds no list of predictions: [1]"),
        (200, {"predictions": [1, 2]}, 'the answer holds no list of predictions: {"predictions": [1, 2]}'),
    ],
)
def test_an_answer_that_is_none_is_said(status, content, problem):
    with serving(lambda rows: (status, content)) as server:
        assert HttpProbe().measure(server, GOLDEN).problem == problem


def test_a_server_of_another_digest_is_found_out():
    with serving(right, digest="sha256:2") as server:
        assert HttpProbe().measure(server, GOLDEN).problem == "the server says that it serves sha256:2, not sha256:1"


def test_a_server_that_is_gone_is_not_ready_and_fails():
    with serving(right) as server:
        assert HttpProbe().is_ready(server)
    assert not HttpProbe().is_ready(server)
    assert HttpProbe().measure(server, GOLDEN).problem == "no answer to the golden rows (ConnectError); read the log of late-1"


def test_without_golden_rows_nothing_is_shown():
    nothing = GoldenRows(columns=(), rows=(), expected=())
    server = Server(model="late", digest="sha256:1", url="http://127.0.0.1:1", name="late-1")
    assert HttpProbe().measure(server, nothing).problem == "there are no golden rows to send; run compare again"


@pytest.mark.parametrize(("tolerance", "passed"), [(2e-7, True), (1e-9, False)])
def test_the_golden_rows_say_how_far_an_answer_may_be_off(tolerance, passed):
    golden = GOLDEN.model_copy(update={"tolerance": tolerance})
    probability = {100.0: 0.25 + 1e-7, 200.0: 0.5}
    with serving(lambda rows: (200, {"predictions": [binary(probability[row[0]]) for row in rows]})) as server:
        check = decide("sha256:1", HttpProbe().measure(server, golden), 120, Serving(max_p95="5s", max_memory_mb=300))
    assert check.passed is passed


@pytest.mark.parametrize(
    ("answers", "memory_mb", "passed", "reason"),
    [
        (ProbeResult(1e-12, "", 9.5), 120, True, "golden rows within 1.0e-12 of Spark's answers, p95 9.5 ms, 120 MB"),
        (ProbeResult(1e-9, "", 50.0), 300, True, "golden rows within 1.0e-09 of Spark's answers, p95 50.0 ms, 300 MB"),
        (ProbeResult(2e-9, "golden row 4", 9.5), 120, False, "golden row 4: 2.0e-09 apart, 1e-09 is allowed"),
        (
            ProbeResult(2e-7, "", 9.5, tolerance=2e-7),
            120,
            True,
            "golden rows within 2.0e-07 of Spark's answers, p95 9.5 ms, 120 MB",
        ),
        (ProbeResult(3e-7, "golden row 4", 9.5, tolerance=2e-7), 120, False, "golden row 4: 3.0e-07 apart, 2e-07 is allowed"),
        (ProbeResult(float("nan"), "golden row 4", 9.5), 120, False, "golden row 4: nan apart, 1e-09 is allowed"),
        (ProbeResult(0, "", 50.1), 120, False, "p95 of single rows is 50.1 ms, max_p95 is 50 ms"),
        (ProbeResult(0, "", 9.5), 301, False, "it takes 301 MB of memory, max_memory_mb is 300"),
        (ProbeResult(0, "", 9.5), None, False, "its memory could not be measured"),
        (ProbeResult(problem="no answer"), 120, False, "no answer"),
    ],
)
def test_unknown_is_not_good(answers, memory_mb, passed, reason):
    check = decide("sha256:1", answers, memory_mb, LIMITS)
    assert (check.passed, check.reason) == (passed, reason)
