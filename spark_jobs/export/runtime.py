"""Scores the exported model with ONNX Runtime."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pandas as pd

from spark_jobs.export.graph import NULL


class ModelOutput(NamedTuple):
    """`prediction`: label index int64[N], or the number double[N]; `probability`: double[N, classes], None for regression."""

    prediction: np.ndarray
    probability: np.ndarray | None


class OnnxModel:
    """A folder with model.onnx and model.json."""

    def __init__(self, folder: Path):
        metadata = json.loads((folder / "model.json").read_text())
        self.task: str = metadata["task"]
        self.numeric: list[str] = metadata["numeric"]
        self.categorical: list[str] = metadata["categorical"]
        self.labels: list[str] | list[int] | None = metadata["labels"]
        self.known: dict[str, list[str]] = metadata["known"]
        self._session = onnxruntime.InferenceSession(folder / "model.onnx", _one_thread(), providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    def score(self, columns: Mapping[str, Any]) -> ModelOutput:
        """`columns` (a pandas frame, or arrays by name) may hold None for null."""
        feed = feed_of(columns, self.numeric, self.categorical)
        answers = dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))
        return ModelOutput(answers["prediction"], answers.get("probability"))


def feed_of(columns: Mapping[str, Any], numeric: Sequence[str], categorical: Sequence[str]) -> dict[str, np.ndarray]:
    """The graph's inputs: null numbers as NaN, null strings as NULL; no input for a kind without columns."""
    feed = {}
    if numeric:
        feed["numeric"] = np.column_stack([np.asarray(columns[name], dtype=np.float64) for name in numeric])
    if categorical:
        feed["categorical"] = np.column_stack([_strings(columns[name]) for name in categorical])
    return feed


def _strings(values: Any) -> np.ndarray:
    values = np.asarray(values, dtype=object)
    return np.where(pd.isna(values), NULL, values)


def _one_thread() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return options
