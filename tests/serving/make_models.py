"""Writes the three tiny models that the serving tests ask, into models/ beside this file.

The serving environment has no onnx package, so the models are committed. They were written by this script in the
spark environment, and writing them again gives the same bytes: `.venv/spark/bin/python tests/serving/make_models.py`.
Their coefficients make answers that one can work out by hand:

binary      p(late) = sigmoid(-1 + 0.05·dep_delay + 0.001·distance + effect(carrier)); AA: ln 3, UA: -ln 3, others: 0
multiclass  softmax([0, effect(colour), size]); red: ln 2, blue: 0, other levels are refused
regression  10 + distance / speed: not finite where speed is 0

A missing number counts as: dep_delay 10, distance 1000, size 0, speed 100.
"""

import json
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

MODELS = Path(__file__).parent / "models"
DOUBLE, INT64, STRING = TensorProto.DOUBLE, TensorProto.INT64, TensorProto.STRING
node = helper.make_node


def imputed(values: list[float]) -> tuple[list[NodeProto], dict[str, Any]]:
    nodes = [node("IsNaN", ["numeric"], ["missing"]), node("Where", ["missing", "usual", "numeric"], ["numbers"])]
    return nodes, {"usual": np.array(values, dtype=np.float64)}


def effect(levels: dict[str, float]) -> tuple[list[NodeProto], dict[str, Any]]:
    """string[N,1] → double[N,1]; a level that is not listed has none."""
    indexed = node(
        "LabelEncoder",
        ["categorical"],
        ["level"],
        domain="ai.onnx.ml",
        keys_strings=list(levels),
        values_int64s=list(range(len(levels))),
        default_int64=len(levels),
    )
    return [indexed, node("Gather", ["effects", "level"], ["effect"])], {"effects": np.array([*levels.values(), 0.0])}


def binary() -> tuple[list[NodeProto], dict[str, Any]]:
    numbers, usual = imputed([10, 1000])
    levels, effects = effect({"AA": log(3), "UA": -log(3)})
    nodes = [
        node("MatMul", ["numbers", "weights"], ["sum"]),
        node("Sum", ["sum", "effect", "intercept"], ["margin"]),
        node("Neg", ["margin"], ["reference"]),
        node("Concat", ["reference", "margin"], ["both"], axis=1),
        node("Sigmoid", ["both"], ["probability"]),
        node("ArgMax", ["probability"], ["prediction"], axis=1, keepdims=0),
    ]
    return [*numbers, *levels, *nodes], usual | effects | {"weights": np.array([[0.05], [0.001]]), "intercept": np.array([-1.0])}


def multiclass() -> tuple[list[NodeProto], dict[str, Any]]:
    numbers, usual = imputed([0])
    levels, effects = effect({"red": log(2), "blue": 0.0})
    nodes = [
        node("Mul", ["numbers", "zero"], ["nothing"]),
        node("Concat", ["nothing", "effect", "numbers"], ["scores"], axis=1),
        node("Softmax", ["scores"], ["probability"], axis=1),
        node("ArgMax", ["probability"], ["prediction"], axis=1, keepdims=0),
    ]
    return [*numbers, *levels, *nodes], usual | effects | {"zero": np.array([0.0])}


def regression() -> tuple[list[NodeProto], dict[str, Any]]:
    numbers, usual = imputed([1000, 100])
    nodes = [
        node("Gather", ["numbers", "first"], ["distance"], axis=1),
        node("Gather", ["numbers", "second"], ["speed"], axis=1),
        node("Div", ["distance", "speed"], ["hours"]),
        node("Add", ["hours", "ten"], ["prediction"]),
    ]
    return [*numbers, *nodes], usual | {"first": np.array(0), "second": np.array(1), "ten": np.array(10.0)}


def write(name: str, graph: tuple[list[NodeProto], dict[str, Any]], document: dict[str, Any]) -> None:
    nodes, constants = graph
    wide = [("numeric", DOUBLE), ("categorical", STRING)]
    inputs = [tensor(kind, dtype, len(document[kind])) for kind, dtype in wide if document[kind]]
    outputs = [tensor("prediction", DOUBLE)]
    if document["labels"]:
        outputs = [tensor("probability", DOUBLE, len(document["labels"])), tensor("prediction", INT64)]
    tensors = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    versions = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(helper.make_graph(nodes, name, inputs, outputs, tensors), opset_imports=versions, ir_version=9)
    onnx.checker.check_model(model)
    folder = MODELS / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    (folder / "model.json").write_text(json.dumps({"format": 1, "task": name} | document) + "\n")


def tensor(name: str, dtype: int, *width: int) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, ["N", *width])


if __name__ == "__main__":
    write("binary", binary(), {"numeric": ["dep_delay", "distance"], "categorical": ["carrier"], "labels": [0, 1], "known": {}})
    write(
        "multiclass",
        multiclass(),
        {"numeric": ["size"], "categorical": ["colour"], "labels": ["a", "b", "c"], "known": {"colour": ["red", "blue"]}},
    )
    write("regression", regression(), {"numeric": ["distance", "speed"], "categorical": [], "labels": None, "known": {}})
