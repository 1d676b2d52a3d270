"""MLflow's scoring protocol: POST /invocations."""

from collections.abc import Sequence
from typing import Any

import msgspec

from serving.body import decode
from serving.columns import Row
from serving.errors import RequestRefused
from serving.model import Answer, Exchange, Model

FORMS = "dataframe_split, dataframe_records or inputs"


class SplitFrame(msgspec.Struct, forbid_unknown_fields=True):
    """A frame as pandas writes it with orient="split"; its index is ignored."""

    columns: tuple[str, ...]
    data: list[list[Any]]
    index: Any = None


class Invocation(msgspec.Struct, forbid_unknown_fields=True):
    """Exactly one is given."""

    dataframe_split: SplitFrame | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    inputs: dict[str, list[Any]] | list[dict[str, Any]] | None = None


_decoder = msgspec.json.Decoder(Invocation)
_encode = msgspec.json.Encoder().encode


def invoke(model: Model, body: bytes) -> Exchange:
    names, rows = _table(model, decode(_decoder, body))
    answer = model.predict(names, rows)
    return Exchange(names, rows, answer, _encode({"predictions": _records(model, answer)}))


def _table(model: Model, invocation: Invocation) -> tuple[tuple[str, ...], Sequence[Row]]:
    forms = (invocation.dataframe_split, invocation.dataframe_records, invocation.inputs)
    if forms.count(None) != 2:
        raise RequestRefused(f"The body has {3 - forms.count(None)} of {FORMS}; send exactly one.")
    if invocation.dataframe_split is not None:
        return invocation.dataframe_split.columns, invocation.dataframe_split.data
    if isinstance(invocation.inputs, dict):
        return _from_columns(invocation.inputs)
    return model.columns.names, model.columns.rows_of(invocation.dataframe_records or invocation.inputs or [])


def _from_columns(columns: dict[str, list[Any]]) -> tuple[tuple[str, ...], list[Row]]:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} has {length}" for name, length in list(lengths.items())[:5])
        raise RequestRefused(f"The columns of inputs differ in length: {shown}.")
    return tuple(columns), list(zip(*columns.values(), strict=True))


def _records(model: Model, answer: Answer) -> list[dict[str, Any]]:
    if answer.probabilities is None:
        return [{"prediction": value} for value in answer.predictions]
    pairs = zip(answer.predictions, answer.probabilities, strict=True)
    if model.description.task == "binary":
        return [{"prediction": label, "probability": both[1]} for label, both in pairs]
    names = [str(label) for label in model.description.labels or ()]
    return [{"prediction": label, "probabilities": dict(zip(names, values, strict=True))} for label, values in pairs]
