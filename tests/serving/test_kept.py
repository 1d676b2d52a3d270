"""GET /replay: the last requests that were answered, without their masked values; only where the environment asks for it."""

import time

import pytest

from serving import request_buffer as module
from serving.request_buffer import RequestBuffer
from tests.serving.test_mlflow_protocol import COLUMNS, records, split
from tests.serving.test_starting import run
from tests.serving.test_v2_protocol import PATH, inference, tensor


@pytest.fixture
def keeper(start):
    """A server that keeps three requests and masks the carrier."""
    server = start("binary", REPLAY_REQUESTS="3", REPLAY_MASK="carrier")
    yield server
    server.stop()


def kept(server):
    return server.get("/replay").json()["requests"]


def test_without_being_asked_a_server_keeps_nothing(binary):
    binary.post("/invocations", split([20, 0, "AA"]))

    assert binary.get("/replay").status == 404


@pytest.mark.parametrize(
    ("path", "body", "columns", "rows"),
    [
        ("/invocations", split([20, 0, "AA"]), COLUMNS, [[20, 0, None]]),
        ("/invocations", split([20, 0.5, "AA"], [None, True, None]), COLUMNS, [[20, 0.5, None], [None, True, None]]),
        ("/invocations", split(["UA", 0, 20], columns=COLUMNS[::-1]), COLUMNS[::-1], [[None, 0, 20]]),
        ("/invocations", records([20, 0, "AA"], [21, 1, "UA"]), COLUMNS, [[20, 0, None], [21, 1, None]]),
        ("/invocations", {"inputs": {"carrier": ["A"], "distance": [0], "dep_delay": [2**70]}}, COLUMNS[::-1], [[None, 0, 2**70]]),
        (PATH, inference(), COLUMNS, [[20, 0, None], [20, 0, None]]),
        (PATH, inference(tensor("dep_delay", "FP64", None, 3)), COLUMNS, [[None, 0, None], [3, 0, None]]),
    ],
)  # fmt: skip
def test_what_is_kept_is_the_rows_as_they_were_understood(keeper, path, body, columns, rows):
    assert keeper.post(path, body).status == 200

    assert kept(keeper) == [{"columns": columns, "rows": rows}]


def test_a_masked_value_is_nowhere_in_the_server(keeper):
    keeper.post("/invocations", split([20, 0, "somebody's name"]))

    assert b"somebody" not in keeper.get("/replay").body


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/invocations", b"{", 400),
        ("/invocations", split(["20", 0, "AA"]), 400),
        ("/invocations", split([20, 0, "AA"], columns=["a", "b", "c"]), 400),
        (PATH, inference(outputs=[{"name": "score"}]), 400),
        ("/invocations", split([20, 0, "AA"] * 2), 400),
    ],
)
def test_a_request_that_is_refused_is_not_kept(keeper, path, body, status):
    assert keeper.post(path, body).status == status
    assert kept(keeper) == []


def test_an_answer_that_is_no_number_is_not_kept(start):
    server = start("regression", REPLAY_REQUESTS="3")
    assert server.post("/invocations", split([1, 0], columns=["distance", "speed"])).status == 500
    assert kept(server) == []
    server.stop()


def test_the_oldest_go_first(keeper):
    for delay in range(5):
        keeper.post("/invocations", split([delay, 0, "AA"]))
        time.sleep(module.PAUSE_S)

    assert [request["rows"] for request in kept(keeper)] == [[[2, 0, None]], [[3, 0, None]], [[4, 0, None]]]


def test_what_is_large_is_not_kept(keeper):
    assert keeper.post("/invocations", split(*[[20, 0, "AA"]] * 10_000)).status == 200
    assert keeper.post("/invocations", split([20, 0, "A" * 70_000])).status == 200
    assert kept(keeper) == []


def test_all_together_take_four_megabytes_at_most(start):
    server = start("binary", REPLAY_REQUESTS="10000")
    for number in range(100):
        server.post("/invocations", split([number, 0, "A" * 60_000]))
        time.sleep(module.PAUSE_S)

    requests = kept(server)
    assert [request["rows"][0][0] for request in requests] == list(range(31, 100))
    assert sum(len(request["rows"][0][2]) for request in requests) < 4 * 2**20
    server.stop()


def test_of_a_burst_one_in_five_milliseconds_is_kept(monkeypatch):
    clock = iter([10.0, 10.001, 10.0049, 10.006, 10.007, 10.012])
    monkeypatch.setattr(module, "monotonic", lambda: next(clock))
    few = RequestBuffer(9, frozenset())

    for number in range(6):
        few.keep(("a",), [[number]])

    rows = b",".join(b'{"columns":["a"],"rows":[[%d]]}' % number for number in (0, 3, 5))
    assert few.page() == b'{"requests":[' + rows + b"]}"


def test_a_rehearsal_is_answered_but_not_kept(keeper):
    body = b'{"inputs": {"dep_delay": [1], "distance": [1], "carrier": ["AA"]}}'

    assert keeper.ask("POST", "/invocations", body, {"X-Rehearsal": "1"}).status == 200
    assert keeper.ask("POST", PATH, b"{}", {"X-Rehearsal": "1"}).status == 400
    assert kept(keeper) == []


def test_the_page_is_read_only(keeper):
    assert keeper.post("/replay", b"{}").status == 405


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"REPLAY_REQUESTS": "many"}, "REPLAY_REQUESTS is 'many'; set it to an integer from 1 on.\n"),
        ({"REPLAY_REQUESTS": "0"}, "REPLAY_REQUESTS is '0'; set it to an integer from 1 on.\n"),
        (
            {"REPLAY_REQUESTS": "9", "REPLAY_MASK": "carrier,passport"},
            "REPLAY_MASK names passport; this model has the columns dep_delay, distance, carrier only.\n",
        ),
    ],
)
def test_a_mask_that_would_hide_nothing_starts_no_server(request, environment, message):
    ended = run(request.path.parent / "models" / "binary", environment=environment)

    assert (ended.returncode, ended.stderr) == (1, message)
