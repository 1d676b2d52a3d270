"""Random trees against a walk by Spark's rules, typed out here: no JVM."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from spark_jobs.export.graph import Graph, Slot
from spark_jobs.export.reading import Stage
from spark_jobs.export.trees import SUM, Forest, Node

LEVELS = 70  # more than one machine word of categories
NUMBERS = [-1.5, -0.0, 0.0, 0.1, 0.1 + 1e-16, 0.2, 1.0, 1.5, math.inf, -math.inf, math.nan]
STAGE = Stage("RandomForestRegressionModel", "typed", {}, {}, Path())
SLOTS = (
    Slot("x", 0),
    Slot("x", 1, fill=0.1),
    Slot("x", 2, levels=LEVELS),
    *(Slot("x", 3, levels=5, level=level) for level in range(5)),
)


def values_of(row: list[float]) -> list[float]:
    """What Spark's assembled vector would hold."""
    plain, imputed, indexed, encoded = row
    return [plain, 0.1 if math.isnan(imputed) else imputed, indexed, *(float(encoded == level) for level in range(5))]


def walked(nodes: dict[int, Node], values: list[float]) -> float:
    node = nodes[0]
    while node["leftChild"] >= 0:
        split, value = node["split"], values[node["split"]["featureIndex"]]
        left = split["leftCategoriesOrThreshold"]
        goes_left = value <= left[0] if split["numCategories"] == -1 else value in left
        node = nodes[node["leftChild" if goes_left else "rightChild"]]
    return node["prediction"]


THRESHOLDS = st.sampled_from([number for number in NUMBERS if math.isfinite(number)])
SPLITS = st.one_of(
    st.builds(lambda at, feature: (feature, [at], -1), THRESHOLDS, st.sampled_from([0, 1])),
    st.builds(
        lambda left: (2, [float(level) for level in left], LEVELS),
        st.lists(st.integers(0, LEVELS - 1), unique=True, min_size=1, max_size=LEVELS - 1),
    ),
    st.builds(lambda feature, left: (feature, [left], 2), st.integers(3, 7), st.sampled_from([0.0, 1.0])),
    st.builds(lambda feature, at: (feature, [at], -1), st.integers(3, 7), st.sampled_from([0.0, 0.5, 0.9])),
)
LEAVES = st.floats(-1e6, 1e6)
SHAPES = st.recursive(LEAVES, lambda inner: st.tuples(SPLITS, inner, inner), max_leaves=12)
ROWS = st.lists(
    st.tuples(st.sampled_from(NUMBERS), st.sampled_from(NUMBERS), st.integers(0, LEVELS - 1), st.integers(0, 5)),
    min_size=1,
    max_size=20,
)


def nodes_of(shape: Any) -> dict[int, Node]:
    """Numbered as Spark saves them: each node before its children, left before right."""
    nodes: dict[int, Node] = {}

    def add(part: Any) -> int:
        number = len(nodes)
        nodes[number] = {"id": number, "prediction": 0.0, "leftChild": -1, "rightChild": -1}
        if isinstance(part, tuple):
            (feature, left, count), *sides = part
            split = {"featureIndex": feature, "leftCategoriesOrThreshold": left, "numCategories": count}
            nodes[number] |= {"split": split, "leftChild": add(sides[0]), "rightChild": add(sides[1])}
        else:
            nodes[number]["prediction"] = part
        return number

    add(shape)
    return nodes


def scored(trees: list[dict[int, Node]], rows: list[list[float]]) -> np.ndarray:
    """double[N, trees]"""
    graph = Graph()
    graph.input("x", TensorProto.DOUBLE, 4)
    forest = Forest(SLOTS, STAGE)
    for number, tree in enumerate(trees):
        forest.grow(tree, lambda node: node["prediction"], target=number)
    graph.add("Identity", forest.add_to(graph, SUM), name="leaves")
    model = graph.model({"leaves": (TensorProto.DOUBLE, ["N", len(trees)])})
    (leaves,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": np.array(rows, dtype=float)})
    return leaves


@settings(max_examples=150, deadline=None)
@given(st.lists(SHAPES, min_size=1, max_size=5), ROWS)
def test_each_tree_ends_in_sparks_leaf(shapes: list, rows: list):
    trees = [nodes_of(shape) for shape in shapes]

    expected = [[walked(tree, values_of(row)) for tree in trees] for row in rows]

    assert scored(trees, rows).tolist() == expected


def test_a_root_whose_leaf_and_branch_share_a_number_is_still_a_branch():
    """Leaves and branches are numbered apart; a runtime that mixes them up takes the second tree for a single leaf."""
    tree = nodes_of(((0, [0.0], -1), 1.0, ((0, [1.0], -1), 2.0, 3.0)))

    assert scored([tree] * 3, [[-1, 0, 0, 0], [0.5, 0, 0, 0], [2, 0, 0, 0]]).tolist() == [[1.0] * 3, [2.0] * 3, [3.0] * 3]


def test_a_level_of_neither_side_goes_where_spark_sends_it():
    few = nodes_of(((2, [1.0, 2.0], LEVELS), 1.0, 2.0))
    many = nodes_of(((2, [float(level) for level in range(1, LEVELS)], LEVELS), 1.0, 2.0))

    assert scored([few, many], [[0, 0, LEVELS, 0]]).tolist() == [[2.0, 1.0]]
