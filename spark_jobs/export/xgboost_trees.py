"""XGBoost's trees in single precision, added in its order from its base margin: the margins are XGBoost's, bit by bit.

It keeps a branch's threshold and a leaf's value in the same list, `split_conditions`.
"""

import json
from math import inf
from typing import Any

import numpy as np
import xgboost
from onnx import TensorProto

from spark_jobs.export.graph import Graph, Slot
from spark_jobs.export.reading import Stage, UnsupportedStage
from spark_jobs.export.scores import Scores
from spark_jobs.export.stages import Slots
from spark_jobs.export.trees import LT, NEQ, SUM, BranchTest, Forest, Node, Tree

OBJECTIVES = ("binary:logistic", "multi:softprob", "reg:squarederror", "reg:absoluteerror")


def xgboost_classifier(stage: Stage, graph: Graph, slots: Slots) -> Scores:
    learner = learner_of(stage)
    raw = margins(learner, stage, graph, slots)
    classes = int(learner["learner_model_param"]["num_class"])
    if classes:
        return Scores(raw, classes, "Softmax")
    return Scores(graph.add("Mul", raw, graph.constant([-1.0, 1.0])), 2, "Sigmoid")


def xgboost_regressor(stage: Stage, graph: Graph, slots: Slots) -> Scores:
    return Scores(margins(learner_of(stage), stage, graph, slots))


def learner_of(stage: Stage) -> dict[str, Any]:
    """Of the saved model's JSON text, which lies in lines of a few megabytes."""
    parts = sorted((stage.folder / "model").glob("part-*"))
    text = "".join(part.read_text().replace("\n", "") for part in parts)
    learner: dict[str, Any] = json.loads(text)["learner"]
    for value, known in ((learner["gradient_booster"]["name"], ("gbtree",)), (learner["objective"]["name"], OBJECTIVES)):
        if value not in known:
            raise UnsupportedStage(stage, value, ", ".join(known))
    return learner


class SingleForest(Forest):
    """XGBoost goes left where a number, in single precision, is below the threshold."""

    element = TensorProto.FLOAT

    def _branch_test(self, slot: Slot, split: dict[str, Any]) -> BranchTest:
        threshold = split["threshold"]
        if slot.level is None:
            nan_left = split["nan"] if slot.fill is None else np.float32(slot.fill) < threshold
            return BranchTest(LT, value=threshold, nan=bool(nan_left))
        if 0 < threshold <= 1:
            return BranchTest(NEQ, value=float(slot.level))  # the column is 0, for another level
        return BranchTest(LT, value=inf if threshold > 1 else -inf)


def margins(learner: dict[str, Any], stage: Stage, graph: Graph, slots: Slots) -> str:
    """double[N, classes], or double[N, 1]"""
    forest = SingleForest(slots, stage)
    rest = base_margins(learner)
    model = learner["gradient_booster"]["model"]
    for tree, target in zip(model["trees"], model["tree_info"], strict=True):
        base, rest[target] = rest[target], np.float32(0)  # the margin's sum begins with it, so the first tree holds it
        forest.grow(_nodes(tree, stage, base), _prediction, target)
    return graph.add("Cast", forest.add_to(graph, SUM), to=TensorProto.DOUBLE)


def base_margins(learner: dict[str, Any]) -> np.ndarray:
    """Each target's margin before its first tree, asked of XGBoost with all leaves at 0: the logarithm is its own."""
    bare = json.loads(json.dumps(learner))
    for tree in bare["gradient_booster"]["model"]["trees"]:
        tree["split_conditions"] = [0.0] * len(tree["split_conditions"])
    saved = {"learner": bare, "version": [int(part) for part in xgboost.__version__.split(".")]}
    booster = xgboost.Booster(model_file=bytearray(json.dumps(saved).encode()))
    row = np.zeros((1, int(learner["learner_model_param"]["num_feature"])), dtype=np.float32)
    margins: np.ndarray = booster.inplace_predict(row, predict_type="margin").reshape(-1)
    return margins


def _nodes(tree: dict[str, Any], stage: Stage, base: np.float32) -> Tree:
    """By id, as `Forest` takes them."""
    if any(tree["split_type"]):
        raise UnsupportedStage(stage, "a categorical split", "splits of numbers")
    names = ("left_children", "right_children", "split_indices", "split_conditions", "default_left")
    rows = zip(*(tree[name] for name in names), strict=True)
    return {number: _node(number, base, *row) for number, row in enumerate(rows)}


def _node(number: int, base: np.float32, left: int, right: int, feature: int, condition: float, default_left: int) -> Node:
    leaf = left < 0
    return {
        "id": number,
        "leftChild": left,
        "rightChild": right,
        "prediction": float(base + np.float32(condition)) if leaf else 0.0,
        "split": {"featureIndex": feature, "threshold": condition, "nan": bool(default_left)},
    }


def _prediction(node: Node) -> float:
    value: float = node["prediction"]
    return value
