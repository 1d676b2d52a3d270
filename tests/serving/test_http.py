"""Paths, methods, limits, headers and metrics."""

import json
import time

import pytest

LIMIT = 8 * 1024 * 1024
ROW = json.dumps({"inputs": {"distance": [100], "speed": [50]}}).encode()
DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    "path", ["/ping", "/health", "/version", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/demo/ready", "/metrics"]
)
def test_a_page_answers_get_and_refuses_post(regression, path):
    assert regression.get(path).status == 200
    assert regression.ask("HEAD", path).status == 200
    refused = regression.post(path, b"{}")
    assert (refused.status, refused.json()["error_code"]) == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize("path", ["/invocations", "/v2/models/demo/infer"])
def test_a_prediction_takes_post_only(regression, path):
    for method in ("GET", "PUT", "DELETE"):
        assert regression.ask(method, path).status == 405


@pytest.mark.parametrize("path", ["/", "/invocations/", "/v2/models/other", "/v2/models/other/infer", "/v2/models/other/ready"])
def test_an_unknown_path_is_not_found(regression, path):
    for reply in (regression.get(path), regression.post(path, b"{}")):
        assert (reply.status, reply.json()["error_code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(("path", "body"), [("/invocations", ROW), ("/invocations", b"{"), ("/nowhere", b"{}"), ("/ping", b"")])
def test_every_answer_says_which_version_and_image_gave_it(regression, path, body):
    headers = regression.post(path, body).headers

    assert (headers["x-model-version"], headers["x-image-digest"]) == ("7", DIGEST)


def test_version_names_model_version_and_image(regression):
    assert regression.get("/version").json() == {"model": "demo", "version": "7", "digest": DIGEST}


def padded(size):
    return ROW + b" " * (size - len(ROW))


def in_chunks(body, size=64 * 1024):
    """As HTTP's chunked encoding writes it."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def test_a_body_of_just_the_limit_is_answered(regression):
    assert regression.post("/invocations", padded(LIMIT)).status == 200
    assert regression.ask("POST", "/invocations", in_chunks(padded(LIMIT)), {"transfer-encoding": "chunked"}).status == 200


@pytest.mark.parametrize("path", ["/invocations", "/v2/models/demo/infer"])
def test_a_body_over_the_limit_is_refused(regression, path):
    reply = regression.post(path, padded(LIMIT + 1))

    assert (reply.status, reply.json()["error_code"]) == (413, "REQUEST_TOO_LARGE")
    assert reply.json()["message"] == "The body is larger than 8,388,608 bytes; send fewer rows at a time."


@pytest.mark.parametrize("lie", [{}, {"content-length": "5"}])
def test_a_body_without_or_with_a_false_length_is_counted_as_it_comes(regression, lie):
    reply = regression.ask("POST", "/invocations", in_chunks(padded(LIMIT + 1)), {"transfer-encoding": "chunked"} | lie)

    assert reply.status == 413


def test_an_endless_body_costs_no_memory(regression):
    before = regression.memory_mb()
    connection = regression.connect()
    connection.putrequest("POST", "/invocations")
    connection.putheader("transfer-encoding", "chunked")
    connection.endheaders()
    megabyte = b"100000\r\n" + b" " * 0x100000 + b"\r\n"

    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        connection.send(megabyte for _ in range(500))

    connection.close()
    assert regression.post("/invocations", ROW).status == 200
    assert regression.memory_mb() < before + 60


def test_a_client_that_leaves_is_no_error_of_the_server(regression):
    line = 'serving_requests_total{model="demo",version="7",endpoint="invocations",code="400"}'
    before = metric(regression, line)

    connection = regression.connect()
    connection.putrequest("POST", "/invocations")
    connection.putheader("content-length", "100")
    connection.endheaders(b"{")
    time.sleep(0.1)
    connection.close()

    deadline = time.monotonic() + 10
    while metric(regression, line) == before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert metric(regression, line) == before + 1
    assert "Traceback" not in regression.log.read_text()


def metric(server, line):
    lines = [text for text in server.get("/metrics").body.decode().splitlines() if text.startswith(line + " ")]
    return float(lines[0].rpartition(" ")[2]) if lines else 0.0


@pytest.mark.parametrize(("body", "code"), [(ROW, "200"), (b"{", "400")])
def test_predictions_are_counted_by_code_and_timed(regression, body, code):
    counted = f'serving_requests_total{{model="demo",version="7",endpoint="invocations",code="{code}"}}'
    timed = 'serving_prediction_seconds_count{model="demo",version="7"}'
    all_of_them = 'serving_prediction_seconds_bucket{model="demo",version="7",le="+Inf"}'
    before = [metric(regression, line) for line in (counted, timed, all_of_them)]

    for _ in range(3):
        regression.post("/invocations", body)

    assert [metric(regression, line) for line in (counted, timed, all_of_them)] == [number + 3 for number in before]


def test_health_checks_are_counted_but_not_timed(regression):
    timed = 'serving_prediction_seconds_count{model="demo",version="7"}'
    checked = 'serving_requests_total{model="demo",version="7",endpoint="other",code="200"}'
    before = metric(regression, timed), metric(regression, checked)

    regression.get("/ping")

    assert metric(regression, timed) == before[0]
    assert metric(regression, checked) >= before[1] + 2  # the ping, and reading the metrics


def test_buckets_rise_from_half_a_millisecond_to_ten_seconds(regression):
    lines = [line for line in regression.get("/metrics").body.decode().splitlines() if "_bucket{" in line]
    limits = [float(line.partition('le="')[2].partition('"')[0]) for line in lines]
    counts = [int(line.rpartition(" ")[2]) for line in lines]

    assert (limits[0], limits[-2], limits[-1]) == (0.0005, 10.0, float("inf"))
    assert limits == sorted(set(limits))
    assert counts == sorted(counts)
