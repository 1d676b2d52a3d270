"""Feature stages: each turns column names into slots, as Spark's `transform` would."""

from collections.abc import Callable

import numpy as np
from onnx import TensorProto, helper

from spark_jobs.export.graph import ML, NULL, Graph, Slot
from spark_jobs.export.reading import Stage, UnsupportedStage, vector

Slots = tuple[Slot, ...]


class ColumnSlots:
    """Spark's columns so far, by name; `known` holds the only levels of columns whose others are refused."""

    def __init__(self, graph: Graph, numeric: tuple[str, ...], categorical: tuple[str, ...]):
        self.graph = graph
        self.known: dict[str, list[str]] = {}
        self.strings = {name: ("categorical", number) for number, name in enumerate(categorical)}
        self.slots: dict[str, Slots] = {name: (Slot("numeric", number),) for number, name in enumerate(numeric)}
        for name, element, columns in (("numeric", TensorProto.DOUBLE, numeric), ("categorical", TensorProto.STRING, categorical)):
            if columns:
                graph.input(name, element, len(columns))

    def of(self, stage: Stage, name: str) -> Slots:
        if name not in self.slots:
            raise UnsupportedStage(stage, f"input {name}", "numeric features of the spec and outputs of earlier stages")
        return self.slots[name]

    def scalar(self, stage: Stage, name: str) -> Slot:
        slots = self.of(stage, name)
        if len(slots) != 1:
            raise UnsupportedStage(stage, f"vector input {name}", "columns of single numbers")
        return slots[0]


def impute(stage: Stage, columns: ColumnSlots) -> None:
    if str(stage.params["missingValue"]) != "NaN":
        raise UnsupportedStage(stage, f"missingValue={stage.params['missingValue']}", "missingValue NaN")
    for name, output, surrogate in zip(stage.inputs, stage.outputs, stage.row(), strict=True):
        slot = columns.scalar(stage, name)
        if slot.tensor != "numeric" or slot.fill is not None or not np.isfinite(surrogate):
            raise UnsupportedStage(stage, f"imputing {name} by {surrogate}", "features of the spec, once, by a finite number")
        columns.slots[output] = (slot._replace(fill=surrogate),)


def index_strings(stage: Stage, columns: ColumnSlots) -> None:
    keep = stage.require("handleInvalid", "keep", "error") == "keep"
    (labels_of,) = stage.row()
    for name, output, labels in zip(stage.inputs, stage.outputs, labels_of, strict=True):
        if name not in columns.strings:
            raise UnsupportedStage(stage, f"input {name}", "categorical features of the spec")
        if NULL in labels:
            raise UnsupportedStage(stage, f"the level {NULL!r} of {name}", "any level but that one, which stands for null")
        if not keep:
            columns.known[name] = labels
        codes = _lookup(columns.graph, columns.strings[name], labels, float(len(labels)) if keep else -1.0)
        if not keep:
            columns.graph.refuse(columns.graph.add("Less", codes, columns.graph.constant([0.0])))
        columns.slots[output] = (Slot(codes, 0, levels=len(labels) + keep),)


def _lookup(graph: Graph, source: tuple[str, int], labels: list[str], other: float) -> str:
    """double[N, 1]; null is a key of its own, so that a column without any level still has a table."""
    keys = [label.encode() for label in [*labels, NULL]]
    values = [*map(float, range(len(labels))), other]
    texts = helper.make_tensor("keys", TensorProto.STRING, [len(keys)], keys)  # type: ignore[arg-type]  # bytes: onnx's hint is wrong
    return graph.add(
        "LabelEncoder",
        graph.columns([source]),
        width=1,
        domain=ML,
        keys_tensor=texts,
        values_tensor=helper.make_tensor("values", TensorProto.DOUBLE, [len(values)], values),
        default_tensor=helper.make_tensor("default", TensorProto.DOUBLE, [1], [other]),
    )


def encode_one_hot(stage: Stage, columns: ColumnSlots) -> None:
    keep = stage.require("handleInvalid", "keep", "error") == "keep"
    (sizes,) = stage.row()
    for name, output, size in zip(stage.inputs, stage.outputs, sizes, strict=True):
        slot = columns.scalar(stage, name)
        if slot.levels != size:
            problem = f"input {name} with {slot.levels} levels where {size} are known"
            raise UnsupportedStage(stage, problem, "indexes of a StringIndexer")
        width = size + keep - stage.params["dropLast"]  # keep adds a column for invalid values; the indexer leaves none
        columns.slots[output] = tuple(slot._replace(level=level) for level in range(width))


def assemble(stage: Stage, columns: ColumnSlots) -> None:
    slots = tuple(slot for name in stage.inputs for slot in columns.of(stage, name))
    if stage.require("handleInvalid", "error", "keep") == "error":
        maybe_nan = [slot for slot in slots if slot.fill is None and slot.levels is None]
        if maybe_nan:
            columns.graph.refuse(columns.graph.add("IsNaN", columns.graph.dense(maybe_nan)))
    columns.slots[stage.outputs[0]] = slots


def scale(stage: Stage, columns: ColumnSlots) -> None:
    """(x − mean) · (1 / std), in this order; a constant column is scaled by 0, as Spark does."""
    std, mean = map(vector, stage.row())
    slots = columns.of(stage, stage.inputs[0])
    graph, width = columns.graph, len(slots)
    if stage.params["withMean"]:
        slots = _tensor_slots(graph.add("Sub", graph.dense(slots), graph.constant(mean), width=width), width)
    if stage.params["withStd"]:
        factors = np.divide(1.0, std, out=np.zeros_like(std), where=std != 0)
        slots = _tensor_slots(graph.add("Mul", graph.dense(slots), graph.constant(factors), width=width), width)
    columns.slots[stage.outputs[0]] = slots


def _tensor_slots(tensor: str, width: int) -> Slots:
    return tuple(Slot(tensor, column) for column in range(width))


FEATURES: dict[str, Callable[[Stage, ColumnSlots], None]] = {
    "ImputerModel": impute,
    "StringIndexerModel": index_strings,
    "OneHotEncoderModel": encode_one_hot,
    "VectorAssembler": assemble,
    "StandardScalerModel": scale,
}
