"""The open inference protocol, version 2."""

import pytest

PATH = "/v2/models/demo/infer"


def tensor(name, datatype, *data, shape=None):
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": list(data)}


def inference(delay=None, distance=None, carrier=None, **more):
    return {
        "inputs": [
            delay or tensor("dep_delay", "FP64", 20, 20),
            distance or tensor("distance", "FP64", 0, 0),
            carrier or tensor("carrier", "BYTES", "AA", "UA"),
        ]
    } | more


@pytest.mark.parametrize(
    "body",
    [
        inference(),
        inference(delay=tensor("dep_delay", "INT64", 20, 20), distance=tensor("distance", "FP32", 0.0, 0)),
        inference(distance=tensor("distance", "BOOL", False, False)),
        inference(delay=tensor("dep_delay", "FP64", 20, 20, shape=[2, 1])),
        inference(delay={"name": "dep_delay", "datatype": "FP64", "shape": [2, 1], "data": [[20], [20]]}),
        inference(parameters={"whatever": 1}),
    ],
)
def test_one_tensor_per_column_gets_predictions_and_probabilities(binary, body):
    reply = binary.post(PATH, body | {"id": "a-7"})

    assert reply.status == 200, reply.body
    answer = reply.json()
    prediction, probability = answer.pop("outputs")
    assert answer == {"model_name": "demo", "model_version": "7", "id": "a-7"}
    assert prediction == {"name": "prediction", "datatype": "INT64", "shape": [2], "data": [1, 0]}
    assert probability.pop("data") == pytest.approx([0.25, 0.75, 0.75, 0.25])
    assert probability == {"name": "probability", "datatype": "FP64", "shape": [2, 2]}


def test_null_is_a_missing_value_whatever_the_datatype(binary):
    body = inference(tensor("dep_delay", "INT64", None), tensor("distance", "FP64", 500), tensor("carrier", "BYTES", None))

    assert binary.post(PATH, body).json()["outputs"][1]["data"] == pytest.approx([0.5, 0.5])


def test_only_the_outputs_asked_for_are_sent(binary):
    reply = binary.post(PATH, inference(outputs=[{"name": "probability"}]))

    assert [output["name"] for output in reply.json()["outputs"]] == ["probability"]


EXPECTED = "expected numeric dep_delay, distance and categorical carrier."
SHAPES = "expected shape [N] or [N,1] and N values."


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"inputs": inference()["inputs"][:2]}, f"The columns do not fit (missing: carrier); {EXPECTED}"),
        (
            inference(carrier=tensor("distance", "FP64", 1)),
            f"The columns do not fit (missing: carrier; given twice: distance); {EXPECTED}",
        ),
        (inference(carrier=tensor("carrier", "INT64", 1, 2)), "carrier has datatype INT64; expected BYTES."),
        (
            inference(tensor("dep_delay", "BYTES", "20", "20")),
            "dep_delay has datatype BYTES; expected FP64 or FP32 or INT64 or BOOL.",
        ),
        (inference(tensor("dep_delay", "INT64", 20, 20.5)), "dep_delay has a value in row 1 that is not of its datatype INT64."),
        (inference(tensor("dep_delay", "FP64", 20, "20")), "dep_delay has a value in row 1 that is not of its datatype FP64."),
        (inference(tensor("dep_delay", "FP64", 20, 20, shape=[1, 2])), f"dep_delay has shape 1×2 and 2 values; {SHAPES}"),
        (inference(tensor("dep_delay", "FP64", 20, shape=[2])), f"dep_delay has shape 2 and 1 values; {SHAPES}"),
        (inference(tensor("dep_delay", "FP64", 20)), "The inputs differ in rows: dep_delay has 1, distance has 2, carrier has 2."),
        (inference(outputs=[{"name": "score"}]), "There is no output score; there is prediction and probability."),
        ({}, "The body has not the expected form: Object missing required field `inputs`."),
    ],
)
def test_what_does_not_fit_is_refused_by_name(binary, body, message):
    reply = binary.post(PATH, body)

    assert (reply.status, reply.json()) == (400, {"error_code": "BAD_REQUEST", "message": message, "error": message})


def test_text_labels_are_bytes_and_a_regression_has_no_probability(multiclass, regression):
    labels = multiclass.post(PATH, {"inputs": [tensor("size", "FP64", 0), tensor("colour", "BYTES", "red")]})
    number = regression.post(PATH, {"inputs": [tensor("distance", "FP64", 100), tensor("speed", "FP64", 50)]})

    assert labels.json()["outputs"][0] == {"name": "prediction", "datatype": "BYTES", "shape": [1], "data": ["b"]}
    assert number.json()["outputs"] == [{"name": "prediction", "datatype": "FP64", "shape": [1], "data": [12.0]}]


def test_a_result_that_is_not_a_number_is_never_sent(regression):
    reply = regression.post(PATH, {"inputs": [tensor("distance", "FP64", 1), tensor("speed", "FP64", 0)]})

    assert (reply.status, reply.json()["error_code"]) == (500, "INTERNAL_ERROR")


def test_metadata_says_how_to_ask(multiclass):
    assert multiclass.get("/v2/models/demo").json() == {
        "name": "demo",
        "versions": ["7"],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "size", "datatype": "FP64", "shape": [-1]},
            {"name": "colour", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": "prediction", "datatype": "BYTES", "shape": [-1]},
            {"name": "probability", "datatype": "FP64", "shape": [-1, 3], "parameters": {"labels": ["a", "b", "c"]}},
        ],
    }
