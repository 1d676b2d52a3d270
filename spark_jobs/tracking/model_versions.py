"""Registered versions, loaded from MLflow with all that scoring needs."""

import json
from collections.abc import Sequence
from datetime import datetime
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.ml import PipelineModel

from contract.documents import StoredSpec, parse
from contract.errors import TooNew, TransientError
from contract.spec import ModelSpec
from spark_jobs.data.labels import Labels
from spark_jobs.export.reading import UnsupportedStage, read_pipeline
from spark_jobs.tracking.mlflow_runs import MODEL, ONNX, PIPELINE, training_of, translate_mlflow_errors

PICKLED = "serialized_callbacks"  # of a saved stage's metadata
GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's error codes for a deleted version or run


class VersionUnreadable(TransientError):
    """MLflow answers, but the version or some of its files are missing or unreadable."""


class Version(NamedTuple):
    """One registered version with all that scoring needs.

    `params` its algorithm was fitted with; `onnx` is the folder with model.onnx and model.json.
    """

    pipeline: PipelineModel
    spec: ModelSpec
    sql: str | None
    labels: Labels | None
    params: dict[str, Any]
    train_until: datetime | None
    as_of: datetime
    onnx: Path
    mlflow_run: str


def load_versions(model: str, versions: Sequence[int], folder: Path) -> list[Version | VersionUnreadable]:
    """Loads in parallel: a pipeline's many small files take one core several seconds."""

    def load(version: int) -> Version | VersionUnreadable:
        try:
            return load_version(model, version, folder / str(version))
        except VersionUnreadable as error:
            return error

    with ThreadPool(len(versions)) as pool:
        return pool.map(load, versions, chunksize=1)


def load_version(model: str, version: int, folder: Path) -> Version:
    """A registered version, its files copied below `folder`, which must outlive the pipeline. Raises VersionUnreadable."""
    with translate_mlflow_errors():
        client = MlflowClient()
        try:
            registered = client.get_model_version(model, str(version))
            folder.mkdir(parents=True, exist_ok=True)
            if registered.run_id is None:
                raise VersionUnreadable(f"version {version} of {model} in MLflow was not registered by this project: it has no run")
            client.download_artifacts(registered.run_id, "", str(folder))
        except MlflowException as error:
            if error.error_code in GONE:
                raise VersionUnreadable(f"MLflow has no version {version} of {model} any more") from error
            raise
    try:
        return _read_version(registered, registered.run_id, folder)
    except (OSError, ValueError, KeyError, TooNew, UnsupportedStage, PySparkException, Py4JJavaError) as error:
        reason = str(error).strip().partition("\n")[0][:300]
        raise VersionUnreadable(f"the files of version {version} of {model} in MLflow cannot be read: {reason}") from error


def load_pipeline(folder: Path) -> PipelineModel:
    """Refuses what xgboost.spark would unpickle: a registry's files must not become code. This project writes none."""
    for stage in read_pipeline(folder):
        if PICKLED in stage.extra:
            raise ValueError(f"{stage.kind} {stage.uid} holds {PICKLED}, which would run as code")
    return PipelineModel.load(f"file://{folder}")


def _read_version(registered: ModelVersion, mlflow_run: str, folder: Path) -> Version:
    training, sql = training_of(registered), folder / "features.sql"
    return Version(
        pipeline=load_pipeline(folder.resolve() / MODEL / PIPELINE),
        spec=parse(StoredSpec, (folder / "spec.json").read_bytes()).spec,
        sql=sql.read_text() if sql.exists() else None,
        labels=json.loads((folder / ONNX / "model.json").read_bytes())["labels"],
        params=training.params,
        train_until=training.train_until,
        as_of=datetime.fromisoformat(registered.tags["as_of"]),
        onnx=folder / ONNX,
        mlflow_run=mlflow_run,
    )
