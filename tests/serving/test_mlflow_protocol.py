"""POST /invocations. What the models answer is worked out by hand from the formulas in make_models.py."""

import pytest

COLUMNS = ["dep_delay", "distance", "carrier"]
FORMS = "dataframe_split, dataframe_records or inputs"
EXPECTED = "expected numeric dep_delay, distance and categorical carrier."


def split(*rows, columns=COLUMNS):
    return {"dataframe_split": {"columns": columns, "data": rows}}


def records(*rows, columns=COLUMNS):
    return {"dataframe_records": [dict(zip(columns, row, strict=True)) for row in rows]}


LATE = {"prediction": 1, "probability": 0.75}
PUNCTUAL = {"prediction": 0, "probability": 0.25}
EVEN = {"prediction": 0, "probability": 0.5}


@pytest.mark.parametrize(
    ("body", "predictions"),
    [
        (split([20, 0, "AA"]), [LATE]),
        (split([20, 0, "AA"], [20.0, 0, "UA"]), [LATE, PUNCTUAL]),
        (split(["UA", 0, 20], columns=["carrier", "distance", "dep_delay"]), [PUNCTUAL]),
        ({"dataframe_split": {"index": [9], "columns": COLUMNS, "data": [[20, 0, "AA"]]}}, [LATE]),
        (records([20, 0, "AA"], [20, 0, "UA"]), [LATE, PUNCTUAL]),
        ({"inputs": {"dep_delay": [20, 20], "distance": [0, 0], "carrier": ["AA", "UA"]}}, [LATE, PUNCTUAL]),
        ({"inputs": records([20, 0, "UA"])["dataframe_records"]}, [PUNCTUAL]),
        (split([20, 0, "a carrier founded yesterday"]), [EVEN]),
        (split([20, 0, None]), [EVEN]),
        (split([None, 500, None]), [EVEN]),  # a missing dep_delay counts as 10
        (split([0, None, None]), [EVEN]),  # a missing distance as 1000
        (split([True, 950, None]), [EVEN]),
    ],
)
def test_every_form_of_rows_gets_one_record_per_row(binary, body, predictions):
    reply = binary.post("/invocations", body)

    assert reply.status == 200, reply.body
    assert [record["prediction"] for record in reply.json()["predictions"]] == [expected["prediction"] for expected in predictions]
    assert [record["probability"] for record in reply.json()["predictions"]] == pytest.approx(
        [expected["probability"] for expected in predictions], abs=1e-12
    )


MISFIT = "The columns do not fit "
NO_NUMBER = "where a number or null is expected"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (split([20, "AA"], columns=["dep_delay", "carrier"]), f"{MISFIT}(missing: distance); {EXPECTED}"),
        (split([2, 0], columns=["delay", "distance"]), f"{MISFIT}(missing: dep_delay, carrier; unknown: delay); {EXPECTED}"),
        (split([1, 1, 0, "AA"], columns=["dep_delay", *COLUMNS]), f"{MISFIT}(given twice: dep_delay); {EXPECTED}"),
        (records([20, 0], columns=["dep_delay", "distance"]), f"{MISFIT}(missing: carrier); {EXPECTED}"),
        (records([20, 0, "AA", 1], columns=[*COLUMNS, "origin"]), f"{MISFIT}(unknown: origin); {EXPECTED}"),
        ({"inputs": {"carrier": ["AA"]}}, f"{MISFIT}(missing: dep_delay, distance); {EXPECTED}"),
        (split(["20", 0, "AA"]), f"Wrong values: dep_delay is a string in row 0 {NO_NUMBER}."),
        (split([20, 0, "AA"], [20, [1], "AA"]), f"Wrong values: distance is an array in row 1 {NO_NUMBER}."),
        (split([20, {}, 5]), f"Wrong values: distance is an object in row 0 {NO_NUMBER}; "
                             "carrier is a number or truth value in row 0 where a string or null is expected."),
        (split([10**400, 0, "AA"]), f"Wrong values: dep_delay is too large a number in row 0 {NO_NUMBER}."),
        (split([20, 0]), "Row 0 has 2 values for 3 columns."),
        (split([20, 0, "AA"], [20, 0, "AA", 1]), "Row 1 has 4 values for 3 columns."),
        (split(), "The request has no rows; send at least one."),
        ({"dataframe_records": []}, "The request has no rows; send at least one."),
        ({"inputs": {"dep_delay": [1, 2], "distance": [1], "carrier": ["AA"]}},
         "The columns of inputs differ in length: dep_delay has 2, distance has 1, carrier has 1."),
        ({}, f"The body has 0 of {FORMS}; send exactly one."),
        (split([20, 0, "AA"]) | records([20, 0, "AA"]), f"The body has 2 of {FORMS}; send exactly one."),
        ({"instances": []}, "The body has not the expected form: Object contains unknown field `instances`."),
        ([], "The body has not the expected form: Expected `object`, got `array`."),
        (b"", "The body is not JSON: Input data was truncated."),
        (b'{"inputs": {"carrier": [NaN]}}', "The body is not JSON: JSON is malformed: invalid character (byte 24); "
                                            "NaN and Infinity are not JSON, write null for a missing value."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(binary, body, message):
    reply = binary.post("/invocations", body)

    assert (reply.status, reply.json()) == (400, {"error_code": "BAD_REQUEST", "message": message})


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"inputs": Infinity}', b'{"inputs": {"carrier": ["\xff"]}}', b"[" * 100_000, b'{"inputs": {"dep_delay": [1e999]}}'],
)
def test_broken_json_is_refused(binary, body):
    reply = binary.post("/invocations", body)

    assert (reply.status, reply.json()["error_code"]) == (400, "BAD_REQUEST")


def test_a_multiclass_answer_names_each_label(multiclass):
    reply = multiclass.post("/invocations", {"inputs": {"size": [0, 9], "colour": ["red", "blue"]}})

    first, second = reply.json()["predictions"]
    assert first["prediction"] == "b"
    assert first["probabilities"] == pytest.approx({"a": 0.25, "b": 0.5, "c": 0.25})
    assert second["prediction"] == "c"


@pytest.mark.parametrize(("colour", "shown"), [("green", "'green'"), (None, "null")])
def test_where_the_model_accepts_known_levels_only_others_are_refused(multiclass, colour, shown):
    reply = multiclass.post("/invocations", {"inputs": {"size": [0, 0], "colour": ["red", colour]}})

    message = f"colour is {shown} in row 1, which is none of the 2 levels known to this model."
    assert (reply.status, reply.json()["message"]) == (400, message)


def test_a_regression_answers_numbers(regression):
    reply = regression.post("/invocations", split([100, 50], [None, 10], columns=["distance", "speed"]))

    assert reply.json() == {"predictions": [{"prediction": 12.0}, {"prediction": 110.0}]}


@pytest.mark.parametrize(("distance", "speed"), [(1, 0), (-1, 0), (0, 0)])
def test_a_result_that_is_not_a_number_is_never_sent(regression, distance, speed):
    reply = regression.post("/invocations", split([100, 50], [distance, speed], columns=["distance", "speed"]))

    message = "The model's answer for row 1 is not a finite number, so no answer is given."
    assert (reply.status, reply.json()) == (500, {"error_code": "INTERNAL_ERROR", "message": message})


def test_ten_thousand_rows_are_answered_and_one_more_is_refused(regression):
    rows = [[100, 50]] * 10_000

    assert len(regression.post("/invocations", split(*rows, columns=["distance", "speed"])).json()["predictions"]) == 10_000
    refused = regression.post("/invocations", split(*rows, [1, 1], columns=["distance", "speed"]))
    assert (refused.status, refused.json()["message"]) == (413, "The request has 10,001 rows; send at most 10,000 at a time.")
