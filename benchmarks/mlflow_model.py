"""What a user of MLflow would serve: the same ONNX graph, with the same input schema, as a pyfunc model.

`python benchmarks/mlflow_model.py MODEL_FOLDER TARGET` saves it; MLflow itself runs this file when it serves.
"""

import json
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnxruntime
import pandas as pd
from mlflow.models.signature import ModelSignature
from mlflow.types.schema import ColSpec, Schema


class OnnxModel(mlflow.pyfunc.PythonModel):
    def load_context(self, context: Any) -> None:
        folder = Path(context.artifacts["model"])
        self._shape = json.loads((folder / "model.json").read_text())
        self._session = onnxruntime.InferenceSession(folder / "model.onnx")

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> list[dict[str, float]]:
        numeric = model_input[self._shape["numeric"]].to_numpy(np.float64)
        categorical = model_input[self._shape["categorical"]].to_numpy(object)
        (probability,) = self._session.run(["probability"], {"numeric": numeric, "categorical": categorical})
        return [{"probability": float(row[1])} for row in probability]


def save(folder: Path, target: Path) -> None:
    shape = json.loads((folder / "model.json").read_text())
    kinds = {**dict.fromkeys(shape["numeric"], "double"), **dict.fromkeys(shape["categorical"], "string")}
    signature = ModelSignature(inputs=Schema([ColSpec(kind, name, required=False) for name, kind in kinds.items()]))
    mlflow.pyfunc.save_model(
        target, python_model=__file__, artifacts={"model": str(folder)}, signature=signature, pip_requirements=["onnxruntime"]
    )


if __name__ == "__main__":
    save(Path(sys.argv[1]), Path(sys.argv[2]))
else:
    mlflow.models.set_model(OnnxModel())
