"""Registered versions, loaded from MLflow with all that scoring needs."""

import importlib
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
from pyspark.ml import PipelineModel, Transformer

from contract.documents import StoredSpec, parse
from contract.errors import TooNew, TransientError
from contract.spec import ModelSpec
from spark_jobs.data.handover import Handover
from spark_jobs.data.labels import Labels
from spark_jobs.export.reading import Stage, UnsupportedStage, read_pipeline
from spark_jobs.runtime.shared_folder import SharedFolder
from spark_jobs.tracking.mlflow_runs import MODEL, ONNX, PIPELINE, training_of, translate_mlflow_errors

PACKAGES = ("pyspark.ml.", "xgboost.spark.")
PICKLED = "serialized_callbacks"  # of a saved stage's metadata
UNREADABLE = (OSError, ValueError, KeyError, AttributeError, TooNew, UnsupportedStage, PySparkException, Py4JJavaError)
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


def load_versions(model: str, versions: Sequence[int], folder: Path, handover: Handover) -> list[Version | VersionUnreadable]:
    """Loads in parallel; a pipeline that is in memory is not loaded again."""

    def load(version: int) -> Version | VersionUnreadable:
        try:
            return load_version(model, version, folder / str(version), handover)
        except VersionUnreadable as error:
            return error

    distinct = list(dict.fromkeys(versions))  # a version may be compared with itself: its files are written once
    with ThreadPool(len(distinct)) as pool:
        loaded = dict(zip(distinct, pool.map(load, distinct, chunksize=1), strict=True))
    return [loaded[version] for version in versions]


def load_version(model: str, version: int, folder: Path, handover: Handover) -> Version:
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
        pipeline = handover.pipelines.get(version) or load_pipeline(folder / MODEL / PIPELINE, handover.shared)
        return _read_version(registered, registered.run_id, folder, pipeline)
    except UNREADABLE as error:
        reason = str(error).strip().partition("\n")[0][:300]
        raise VersionUnreadable(f"the files of version {version} of {model} in MLflow cannot be read: {reason}") from error


def _read_version(registered: ModelVersion, mlflow_run: str, folder: Path, pipeline: PipelineModel) -> Version:
    training, sql = training_of(registered), folder / "features.sql"
    return Version(
        pipeline=pipeline,
        spec=parse(StoredSpec, (folder / "spec.json").read_bytes()).spec,
        sql=sql.read_text() if sql.exists() else None,
        labels=json.loads((folder / ONNX / "model.json").read_bytes())["labels"],
        params=training.params,
        train_until=training.train_until,
        as_of=datetime.fromisoformat(registered.tags["as_of"]),
        onnx=folder / ONNX,
        mlflow_run=mlflow_run,
    )


def load_pipeline(folder: Path, shared: SharedFolder) -> PipelineModel:
    """Its stages at once: Spark itself reads one after the other, each by several queries of one small file.

    Refuses what would run as code: a class of another package, and what xgboost.spark would unpickle. This project writes neither.
    """
    stages = read_pipeline(folder)
    for stage in stages:
        refuse_code(stage)
    published = shared.published(folder)

    def load(stage: Stage) -> Transformer:
        module, name = class_of(stage)
        loaded: Transformer = getattr(importlib.import_module(module), name).load(f"{published}/{stage.folder.relative_to(folder)}")
        return loaded

    with ThreadPool(len(stages)) as pool:
        return PipelineModel(pool.map(load, stages, chunksize=1))


def refuse_code(stage: Stage) -> None:
    """Raises ValueError."""
    if not class_of(stage)[0].startswith(PACKAGES):
        raise ValueError(f"{stage.uid} is a {stage.extra['class']}, and only stages of Spark and XGBoost are loaded")
    if PICKLED in stage.extra:
        raise ValueError(f"{stage.kind} {stage.uid} holds {PICKLED}, which would run as code")


def class_of(stage: Stage) -> tuple[str, str]:
    """Its Python module and name."""
    module, _, name = stage.extra["class"].replace("org.apache.spark.", "pyspark.").rpartition(".")
    return module, name
