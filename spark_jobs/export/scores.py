"""An algorithm's raw scores, and the graph's outputs made from them."""

from typing import NamedTuple

from onnx import TensorProto

from spark_jobs.export.graph import Graph

Outputs = dict[str, tuple[int, list[str | int]]]


class Scores(NamedTuple):
    """`tensor`: Spark's raw prediction double[N, classes], or the predicted number double[N, 1] where `classes` is 0.

    `probability` is the operator that turns raw scores into probabilities.
    """

    tensor: str
    classes: int = 0
    probability: str = "Identity"


def add_outputs(graph: Graph, scores: Scores) -> Outputs:
    """Adds the output nodes. Of equal highest scores the first class is the prediction, as in Spark."""
    tensor = graph.guarded(scores.tensor)
    if not scores.classes:
        graph.add("Squeeze", tensor, graph.constant([1], int), name="prediction")
        return {"prediction": (TensorProto.DOUBLE, ["N"])}
    graph.add(scores.probability, tensor, name="probability")
    graph.add("ArgMax", tensor, name="prediction", axis=1, keepdims=0)
    return {"probability": (TensorProto.DOUBLE, ["N", scores.classes]), "prediction": (TensorProto.INT64, ["N"])}
