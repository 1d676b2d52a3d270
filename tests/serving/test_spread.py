"""Answered rows by bin. The models' answers are worked out by hand from the formulas in make_models.py."""

import re

import pytest

from serving.model import Answer, Description
from serving.prediction_histogram import PredictionCounter
from tests.serving.test_mlflow_protocol import split
from tests.serving.test_v2_protocol import PATH, inference, tensor


def description(task, *labels):
    return Description(1, task, ("size",), (), labels or None)


def counted(task, answers, labels=()):
    spread = PredictionCounter(description(task, *labels))
    spread.count(answers)
    return spread.rows()


@pytest.mark.parametrize(
    ("probability", "name"),
    [(0.0, "0.00"), (0.0499, "0.00"), (0.05, "0.05"), (0.5, "0.50"), (0.72, "0.70"), (0.95, "0.95"), (1.0, "0.95")],
)
def test_a_probability_is_counted_in_steps_of_five_percent(probability, name):
    assert counted("binary", Answer([1], [[1 - probability, probability]]), (0, 1)) == {name: 1}


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0.0, "0"), (-0.0, "0"), (1e-305, "0"), (1.0, "1e+00"), (1.99, "1e+00"), (2.0, "2e+00"), (4.99, "2e+00"), (5.0, "5e+00"),
        (10.0, "1e+01"), (0.1, "1e-01"), (0.3, "2e-01"), (-3.0, "-2e+00"), (-0.05, "-5e-02"), (7.3e8, "5e+08"), (1.7e308, "5e+300"),
    ],
)  # fmt: skip
def test_a_number_is_counted_by_its_size_and_sign(number, name):
    assert counted("regression", Answer([number], None)) == {name: 1}


def test_sizes_sort_as_numbers():
    rows = counted("regression", Answer([3.0, -3.0, 0.0, 700.0, 0.002, -1e9], None))

    assert sorted(rows, key=float) == ["-1e+09", "-2e+00", "0", "2e-03", "2e+00", "5e+02"]


def test_labels_beyond_a_hundred_are_one_bin():
    labels = [f"label {number:03}" for number in range(103)][::-1]

    rows = counted("multiclass", Answer(labels, [[1 / 103] * 103] * 103), labels)

    assert len(rows) == 101
    assert (rows["label 099"], rows["other"]) == (1, 3)


def test_many_and_few_answers_are_counted_alike():
    spread = PredictionCounter(description("regression"))
    for rows in (1, 4095, 10_000, 3):
        spread.count(Answer([2.5] * rows, None))

    assert spread.rows() == {"2e+00": 14_099}
    assert spread.rows() == {"2e+00": 14_099}
    assert spread.squares == 1 + 4095**2 + 10_000**2 + 9


def test_no_answers_fill_no_bin():
    assert [
        PredictionCounter(description(*arguments)).rows()
        for arguments in (("binary", 0, 1), ("multiclass", "a", "b"), ("regression",))
    ] == [{}] * 3


def bins(server):
    matches = re.findall(
        r'serving_answers_total\{model="demo",version="7",bin="([^"]+)"\} (\d+)', server.get("/metrics").body.decode()
    )
    return {name: int(number) for name, number in matches}


def squares(server):
    return int(
        re.search(r'serving_answers_squares_total\{model="demo",version="7"\} (\d+)', server.get("/metrics").body.decode())[1]
    )


@pytest.fixture
def fresh(start):
    """A server without any request yet."""
    server = start("binary")
    yield server
    server.stop()


def test_both_protocols_count_every_row_answered(fresh):
    fresh.post("/invocations", split([22, 0, "AA"], [22, 0, "UA"], [22, 0, None]))  # 0.768, 0.269, 0.525
    fresh.post(PATH, inference(tensor("dep_delay", "FP64", 22, 30)))  # 0.768, 0.355

    assert bins(fresh) == {"0.25": 1, "0.35": 1, "0.50": 1, "0.75": 2}
    assert squares(fresh) == 3 * 3 + 2 * 2


def test_refusals_and_rehearsals_are_not_counted(fresh):
    fresh.post("/invocations", split([20, 0, "AA"], ["no number", 0, "AA"]))
    fresh.post(PATH, inference(outputs=[{"name": "score"}]))
    fresh.ask("POST", "/invocations", b'{"inputs": {"dep_delay": [1], "distance": [1], "carrier": [null]}}', {"X-Rehearsal": "1"})

    assert (bins(fresh), squares(fresh)) == ({}, 0)


def test_labels_and_numbers_are_counted_by_their_servers(start):
    labels, numbers = start("multiclass"), start("regression")
    labels.post("/invocations", {"inputs": {"size": [0, 9, 9], "colour": ["red", "blue", "red"]}})
    numbers.post("/invocations", split([100, 50], [-2000, 10], [-100, 10], columns=["distance", "speed"]))

    assert bins(labels) == {"b": 1, "c": 2}
    assert bins(numbers) == {"1e+01": 1, "-1e+02": 1, "0": 1}
    for server in (labels, numbers):
        server.stop()
