"""The open inference protocol, version 2 (KServe, Triton): POST /v2/models/NAME/infer, JSON only.

One input tensor per column, its shape [N] or [N,1]; null in `data` is a missing value, whatever the datatype.
"""

from types import NoneType
from typing import Any

import msgspec

from serving.body import decode
from serving.errors import RequestRefused
from serving.model import Answer, Exchange, Model

_FLOAT = frozenset({float, int, NoneType})
VALUES = {  # datatype: the JSON values it is written with
    "FP64": _FLOAT,
    "FP32": _FLOAT,
    "INT64": frozenset({int, NoneType}),
    "BOOL": frozenset({bool, NoneType}),
    "BYTES": frozenset({str, NoneType}),
}


class InputTensor(msgspec.Struct):
    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[Any]


class OutputName(msgspec.Struct):
    name: str


class Inference(msgspec.Struct):
    """Unknown keys, such as parameters, are ignored: the protocol allows extensions."""

    inputs: list[InputTensor]
    id: str | None = None
    outputs: list[OutputName] | None = None


_decoder = msgspec.json.Decoder(Inference)
_encode = msgspec.json.Encoder().encode


def infer(model: Model, name: str, version: str, body: bytes) -> Exchange:
    request = decode(_decoder, body)
    names = tuple(tensor.name for tensor in request.inputs)
    model.columns.layout(names)  # raises unless they are the model's
    columns = [_values(tensor, model) for tensor in request.inputs]
    if len(set(map(len, columns))) > 1:
        raise RequestRefused(f"The inputs differ in rows: {', '.join(f'{t.name} has {t.shape[0]}' for t in request.inputs[:5])}.")
    rows = list(zip(*columns, strict=True))
    answer = model.predict(names, rows)
    outputs = _chosen(_outputs(model, answer), request.outputs)
    identity = {"model_name": name, "model_version": version} | ({"id": request.id} if request.id is not None else {})
    return Exchange(names, rows, answer, _encode(identity | {"outputs": outputs}))


def metadata(model: Model, name: str, version: str) -> bytes:
    description = model.description
    inputs = [_tensor(column, "FP64") for column in description.numeric]
    inputs += [_tensor(column, "BYTES") for column in description.categorical]
    outputs = [_tensor("prediction", _label_datatype(model))]
    if description.labels is not None:
        probability = _tensor("probability", "FP64", len(description.labels))
        outputs.append(probability | {"parameters": {"labels": description.labels}})
    return _encode({"name": name, "versions": [version], "platform": "onnxruntime_onnx", "inputs": inputs, "outputs": outputs})


def _tensor(name: str, datatype: str, *width: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [-1, *width]}


def _values(tensor: InputTensor, model: Model) -> list[Any]:
    datatypes = ("FP64", "FP32", "INT64", "BOOL") if tensor.name in model.columns.numeric else ("BYTES",)
    if tensor.datatype not in datatypes:
        raise RequestRefused(f"{tensor.name} has datatype {tensor.datatype[:100]}; expected {' or '.join(datatypes)}.")
    values = [one for item in tensor.data for one in (item if type(item) is list else (item,))]  # nested or flat, as [N,1] may be
    if tensor.shape not in ((len(values),), (len(values), 1)):
        shown = "×".join(map(str, tensor.shape[:5]))
        raise RequestRefused(f"{tensor.name} has shape {shown} and {len(values)} values; expected shape [N] or [N,1] and N values.")
    allowed = VALUES[tensor.datatype]
    if not allowed.issuperset(map(type, values)):
        row = next(row for row, value in enumerate(values) if type(value) not in allowed)
        raise RequestRefused(f"{tensor.name} has a value in row {row} that is not of its datatype {tensor.datatype}.")
    return values


def _outputs(model: Model, answer: Answer) -> list[dict[str, Any]]:
    rows = len(answer.predictions)
    outputs = [{"name": "prediction", "datatype": _label_datatype(model), "shape": [rows], "data": answer.predictions}]
    if answer.probabilities is not None:
        flat = [value for row in answer.probabilities for value in row]
        outputs.append({"name": "probability", "datatype": "FP64", "shape": [rows, len(flat) // rows], "data": flat})
    return outputs


def _chosen(outputs: list[dict[str, Any]], requested: list[OutputName] | None) -> list[dict[str, Any]]:
    if not requested:
        return outputs
    available = {output["name"]: output for output in outputs}
    unknown = [one.name[:100] for one in requested if one.name not in available]
    if unknown:
        raise RequestRefused(f"There is no output {', '.join(unknown[:5])}; there is {' and '.join(available)}.")
    return [available[one.name] for one in requested]


def _label_datatype(model: Model) -> str:
    labels = model.description.labels
    if labels is None:
        return "FP64"
    return "BYTES" if isinstance(labels[0], str) else "INT64"
