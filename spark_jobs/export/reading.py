"""A saved PipelineModel directory as plain values: no JVM, no pyspark."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from contract.errors import PermanentError


class UnsupportedStage(PermanentError):
    """A stage, or a parameter of one, that has no exact ONNX form here."""

    def __init__(self, stage: "Stage", problem: str, supported: str):
        super().__init__(f"{stage.kind} {stage.uid}: {problem} cannot be exported to ONNX; supported: {supported}")


@dataclass(frozen=True)
class Stage:
    """`kind` is the class without its package; `params` are the defaults under what was set; `extra` is the whole metadata."""

    kind: str
    uid: str
    params: dict[str, Any]
    extra: dict[str, Any]
    folder: Path

    @property
    def inputs(self) -> list[str]:
        return self.params.get("inputCols") or [self.params["inputCol"]]

    @property
    def outputs(self) -> list[str]:
        """The single outputCol has a default even where several outputCols are set."""
        return self.params.get("outputCols") or [self.params["outputCol"]]

    def require(self, param: str, *allowed: Any) -> Any:
        """The parameter's value; raises UnsupportedStage unless it is one of `allowed` (None: not set)."""
        value = self.params.get(param)
        if value not in allowed:
            names = " or ".join("unset" if one is None else str(one) for one in allowed)
            raise UnsupportedStage(self, f"{param}={value}", f"{param} {names}")
        return value

    def table(self, name: str = "data") -> list[list[Any]]:
        """Rows by position: Spark versions disagree on the columns' names."""
        columns = parquet.read_table(self.folder / name).columns
        return [list(row) for row in zip(*(column.to_pylist() for column in columns), strict=True)]

    def row(self) -> list[Any]:
        (only,) = self.table()
        return only


def read_pipeline(folder: Path) -> list[Stage]:
    pipeline = _read_stage(folder)
    if pipeline.kind != "PipelineModel":
        raise UnsupportedStage(pipeline, "a model that is no pipeline", "a saved PipelineModel")
    uids = pipeline.params["stageUids"]
    digits = len(str(len(uids)))
    return [_read_stage(folder / "stages" / f"{number:0{digits}d}_{uid}") for number, uid in enumerate(uids)]


def _read_stage(folder: Path) -> Stage:
    (file,) = (folder / "metadata").glob("part-*")
    metadata = json.loads(file.read_text())
    params = {**metadata.get("defaultParamMap", {}), **metadata["paramMap"]}
    return Stage(metadata["class"].rsplit(".", 1)[1], metadata["uid"], params, metadata, folder)


def vector(value: dict[str, Any]) -> np.ndarray:
    """Spark's vector struct: type 0 is sparse, 1 is dense."""
    values = np.array(value["values"], dtype=float)
    if value["type"] == 1:
        return values
    dense = np.zeros(value["size"])
    dense[np.array(value["indices"], dtype=int)] = values
    return dense


def matrix(value: dict[str, Any]) -> np.ndarray:
    """Spark's matrix struct: by column, or by row where `isTransposed`; sparse ones compress that same axis."""
    rows, columns = value["numRows"], value["numCols"]
    shape = (rows, columns) if value["isTransposed"] else (columns, rows)
    values = np.array(value["values"], dtype=float)
    if value["type"] == 0:
        flat = np.zeros(shape)
        lines = np.repeat(np.arange(shape[0]), np.diff(value["colPtrs"]))
        flat[lines, np.array(value["rowIndices"], dtype=int)] = values
    else:
        flat = values.reshape(shape)
    return flat if value["isTransposed"] else flat.T
