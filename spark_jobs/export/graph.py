"""A small ONNX graph builder. Features stay lazy (`Slot`) until an algorithm needs a tensor: trees compute no one-hot columns."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

NULL = "\ue000null"  # stands for a null string in the graph's input; "" is a string like any other
ML = "ai.onnx.ml"
OPSETS = (helper.make_opsetid("", 21), helper.make_opsetid(ML, 5))
IR_VERSION = 10


class Slot(NamedTuple):
    """One number per row: `column` of `tensor`, with `fill` in place of NaN; or 1 where it equals `level` and 0 elsewhere.

    `levels`: how many values an index column takes (0, 1, …); None for a plain number.
    """

    tensor: str
    column: int
    fill: float | None = None
    levels: int | None = None
    level: int | None = None

    @property
    def source(self) -> tuple[str, int]:
        return self.tensor, self.column


class Graph:
    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[TensorProto] = []
        self._inputs: list[Any] = []
        self._widths: dict[str, int] = {}
        self._poison: str | None = None

    def input(self, name: str, element: int, width: int) -> None:
        self._inputs.append(helper.make_tensor_value_info(name, element, ["N", width]))
        self._widths[name] = width

    def add(self, operator: str, *inputs: str, name: str = "", width: int = 0, domain: str = "", **attributes: Any) -> str:
        """Appends a node and returns its output's name; `width` (columns) is needed where slots refer to it."""
        name = name or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], domain=domain, **attributes))
        self._widths[name] = width
        return name

    def constant(self, values: Sequence[float] | np.ndarray, dtype: type = np.float64) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(values, dtype=dtype), name))
        return name

    def dense(self, slots: Sequence[Slot]) -> str:
        """double[N, len(slots)]"""
        runs = groupby(slots, key=lambda slot: slot.level is not None)
        return self._joined([self._indicators(list(run)) if is_level else self._values(list(run)) for is_level, run in runs])

    def columns(self, sources: Iterable[tuple[str, int]]) -> str:
        """The columns side by side; all columns of a tensor in order need no Gather."""
        pieces = []
        for tensor, run in groupby(sources, key=lambda source: source[0]):
            indices = [column for _, column in run]
            whole = indices == list(range(self._widths[tensor]))
            pieces.append(tensor if whole else self.add("Gather", tensor, self.constant(indices, np.int64), axis=1))
        return self._joined(pieces)

    def _joined(self, pieces: list[str]) -> str:
        return pieces[0] if len(pieces) == 1 else self.add("Concat", *pieces, axis=1)

    def _values(self, slots: list[Slot]) -> str:
        values = self.columns(slot.source for slot in slots)
        if all(slot.fill is None for slot in slots):
            return values
        fills = self.constant([np.nan if slot.fill is None else slot.fill for slot in slots])
        return self.add("Where", self.add("IsNaN", values), fills, values)

    def _indicators(self, slots: list[Slot]) -> str:
        sources = list(dict.fromkeys(slot.source for slot in slots))
        position = {source: number for number, source in enumerate(sources)}
        spread = self.constant([position[slot.source] for slot in slots], np.int64)
        codes = self.add("Gather", self.columns(sources), spread, axis=1)
        equal = self.add("Equal", codes, self.constant([float(slot.level or 0) for slot in slots]))
        return self.add("Cast", equal, to=TensorProto.DOUBLE)

    def refuse(self, flags: str) -> None:
        """Rows with a True in `flags` (bool[N, k]), on which Spark would throw, get NaN scores."""
        nan = self.add("Where", flags, self.constant([np.nan]), self.constant([0.0]))
        poison = self.add("ReduceSum", nan, self.constant([1], np.int64), keepdims=1)
        self._poison = poison if self._poison is None else self.add("Add", self._poison, poison)

    def guarded(self, scores: str) -> str:
        return scores if self._poison is None else self.add("Add", scores, self._poison)

    def model(self, outputs: dict[str, tuple[int, list[str | int]]]) -> ModelProto:
        """The checked model; `outputs` name: (element type, shape)."""
        infos = [helper.make_tensor_value_info(name, element, shape) for name, (element, shape) in outputs.items()]
        graph = helper.make_graph(self._nodes, "pipeline", self._inputs, infos, self._constants)
        model = helper.make_model(graph, opset_imports=OPSETS, ir_version=IR_VERSION, producer_name="airflow-retraining")
        checker.check_model(model, full_check=True)
        return model
