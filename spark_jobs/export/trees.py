"""Trees and their ensembles: one TreeEnsemble node. Imputing and one-hot columns become part of the splits."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto, helper

from spark_jobs.export.graph import ML, Graph, Slot
from spark_jobs.export.reading import Stage, UnsupportedStage
from spark_jobs.export.scores import Scores
from spark_jobs.export.stages import Slots

AVERAGE, SUM = 0, 1
LEQ, LT, EQ, NEQ, MEMBER = 0, 1, 4, 5, 6  # branch modes of TreeEnsemble
END_OF_MEMBERS = float("nan")

Node = dict[str, Any]  # Spark's NodeData, or as much of it of another library's node
Tree = dict[int, Node]


class BranchTest(NamedTuple):
    """A branch's condition; NaN is false unless `nan` is set. `flipped`: true leads to Spark's right child."""

    mode: int
    value: float = 0.0
    members: tuple[float, ...] = ()
    nan: bool = False
    flipped: bool = False


class Forest:
    """The attributes of one TreeEnsemble node, added tree by tree; `value_of` gives the value of a leaf."""

    element = TensorProto.DOUBLE  # in which it compares and adds

    def __init__(self, slots: Slots, stage: Stage):
        self._slots = slots
        self._stage = stage
        self._sources = {source: number for number, source in enumerate(dict.fromkeys(slot.source for slot in slots))}
        self._branches: list[dict[str, int | float]] = []
        self._members: list[float] = []
        self._leaves: list[float] = []
        self._targets: list[int] = []
        self._roots: list[int] = []

    def grow(self, tree: Tree, value_of: Callable[[Node], float], target: int = 0) -> None:
        self._roots.append(len(self._branches))
        if _is_leaf(tree[0]):  # the operator has no tree without a branch
            leaf = self._leaf(tree[0], value_of, target)
            self._branches.append(_branch(0, BranchTest(LEQ)) | dict.fromkeys(("truenodeids", "falsenodeids"), leaf))
        else:
            self._grow(tree, 0, value_of, target)

    def _grow(self, tree: Tree, node_id: int, value_of: Callable[[Node], float], target: int) -> int:
        node = tree[node_id]
        split = node["split"]
        slot = self._slots[split["featureIndex"]]
        test = self._branch_test(slot, split)
        branch = _branch(self._sources[slot.source], test)
        number = len(self._branches)
        self._branches.append(branch)
        if test.mode == MEMBER:
            self._members += [*test.members, END_OF_MEMBERS]
        children = [tree[node["leftChild"]], tree[node["rightChild"]]]
        for side, child in zip(("true", "false"), reversed(children) if test.flipped else children, strict=True):
            branch[f"{side}leafs"] = int(_is_leaf(child))
            grown = self._leaf(child, value_of, target) if _is_leaf(child) else self._grow(tree, child["id"], value_of, target)
            branch[f"{side}nodeids"] = grown
        return number

    def _leaf(self, node: Node, value_of: Callable[[Node], float], target: int) -> int:
        self._leaves.append(value_of(node))
        self._targets.append(target)
        return len(self._leaves) - 1

    def _branch_test(self, slot: Slot, split: dict[str, Any]) -> BranchTest:
        values, count = split["leftCategoriesOrThreshold"], split["numCategories"]
        if slot.level is not None:
            return self._indicator_test(slot.level, values, count)
        if count == -1:
            return BranchTest(LEQ, value=values[0], nan=slot.fill is not None and slot.fill <= values[0])
        if slot.levels is None:
            raise UnsupportedStage(self._stage, f"a categorical split on {slot.tensor}", "categorical splits on indexed strings")
        others = tuple(float(level) for level in range(count) if level not in values)
        if len(values) <= count // 2:  # Spark tests the shorter side, so a value of neither side goes to the other
            return BranchTest(MEMBER, members=tuple(values))
        return BranchTest(MEMBER, members=others, flipped=True)

    def _indicator_test(self, level: int, values: list[float], count: int) -> BranchTest:
        """Spark knows one-hot columns as two categories; after other stages, as numbers with a threshold between 0 and 1."""
        left = values if count == 2 else [0.0] if count == -1 and 0 <= values[0] < 1 else None
        if left not in ([0.0], [1.0]):
            raise UnsupportedStage(self._stage, f"a split at {values} of a one-hot column", "splits between 0 and 1")
        return BranchTest(EQ if left == [1.0] else NEQ, value=float(level))

    def add_to(self, graph: Graph, aggregate: int) -> str:
        """element[N, trees' targets]"""
        names = self._branches[0]
        arrays: dict[str, Any] = {f"nodes_{name}": [branch[name] for branch in self._branches] for name in names}
        modes, splits = arrays.pop("nodes_modes"), arrays.pop("nodes_splits")
        if self._members:
            arrays["membership_values"] = self._numbers(self._members)
        return graph.add(
            "TreeEnsemble",
            self._inputs(graph),
            domain=ML,
            tree_roots=self._roots,
            nodes_modes=helper.make_tensor("modes", TensorProto.UINT8, [len(modes)], modes),
            nodes_splits=self._numbers(splits),
            leaf_targetids=self._targets,
            leaf_weights=self._numbers(self._leaves),
            n_targets=max(self._targets) + 1,
            aggregate_function=aggregate,
            **arrays,
        )

    def _inputs(self, graph: Graph) -> str:
        columns = graph.dense([Slot(tensor, column) for tensor, column in self._sources])
        return columns if self.element == TensorProto.DOUBLE else graph.add("Cast", columns, to=self.element)

    def _numbers(self, values: list[float]) -> TensorProto:
        return helper.make_tensor("values", self.element, [len(values)], values)


def _is_leaf(node: Node) -> bool:
    left: int = node["leftChild"]
    return left < 0


def _branch(source: int, test: BranchTest) -> dict[str, int | float]:
    return {
        "featureids": source,
        "modes": test.mode,
        "splits": test.value,
        "missing_value_tracks_true": int(test.nan),
        "truenodeids": 0,
        "trueleafs": 1,
        "falsenodeids": 0,
        "falseleafs": 1,
    }


def _trees(stage: Stage) -> Iterator[tuple[Tree, float]]:
    """Each tree's nodes by id, with its weight."""
    if not (stage.folder / "treesMetadata").exists():
        names = ("id", "prediction", "impurity", "impurityStats", "rawCount", "gain", "leftChild", "rightChild", "split")
        yield {row[0]: dict(zip(names, row, strict=True)) for row in stage.table()}, 1.0
        return
    weights = {tree: weight for tree, _, weight in stage.table("treesMetadata")}
    forest: dict[int, Tree] = {tree: {} for tree in sorted(weights)}
    for tree, node in stage.table():
        forest[tree][node["id"]] = node
    for tree, nodes in forest.items():
        yield nodes, weights[tree]


def mean_regressor(stage: Stage, graph: Graph, slots: Slots) -> Scores:
    """A decision tree or a random forest."""
    forest = Forest(slots, stage)
    for tree, _ in _trees(stage):
        forest.grow(tree, lambda node: node["prediction"])
    return Scores(forest.add_to(graph, AVERAGE))


def _weighted(node: Node, weight: float) -> float:
    prediction: float = node["prediction"]
    return prediction * weight


def boosted_regressor(stage: Stage, graph: Graph, slots: Slots) -> Scores:
    forest = Forest(slots, stage)
    for tree, weight in _trees(stage):
        forest.grow(tree, partial(_weighted, weight=weight))
    return Scores(forest.add_to(graph, SUM))


def boosted_classifier(stage: Stage, graph: Graph, slots: Slots) -> Scores:
    """With margin m, Spark's raw prediction is (−m, m) and its probability the sigmoid of twice that; doubling is exact."""
    stage.require("thresholds", None)
    forest = Forest(slots, stage)
    for tree, weight in _trees(stage):
        forest.grow(tree, partial(_weighted, weight=2 * weight))
    raw = graph.add("Mul", forest.add_to(graph, SUM), graph.constant([-1.0, 1.0]))
    return Scores(raw, 2, "Sigmoid")


def vote_classifier(stage: Stage, graph: Graph, slots: Slots) -> Scores:
    """A decision tree or a random forest: the mean over trees of the class shares in the row's leaf."""
    stage.require("thresholds", None)
    forest = Forest(slots, stage)
    votes: list[np.ndarray] = []

    def leaf_number(node: Node) -> float:
        counts = np.array(node["impurityStats"])
        if not counts.sum() > 0:
            raise UnsupportedStage(stage, "a leaf without training rows", "leaves with at least one row")
        votes.append(counts / counts.sum())
        return float(len(votes) - 1)

    for number, (tree, _) in enumerate(_trees(stage)):
        forest.grow(tree, leaf_number, target=number)
    leaves = graph.add("Cast", forest.add_to(graph, SUM), to=TensorProto.INT64)
    by_tree = graph.add("Gather", graph.constant(np.stack(votes)), leaves, axis=0)
    return Scores(graph.add("ReduceMean", by_tree, graph.constant([1], np.int64), keepdims=0), stage.extra["numClasses"])
