"""Runs and registered versions in MLflow. A version is registered last, so that a registered one is complete."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import monotonic, time
from typing import Any, NamedTuple

import mlflow
import pyspark
import xgboost
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.signature import ModelSignature
from mlflow.types.schema import ColSpec, Schema
from pyspark.ml import PipelineModel

from contract.algorithms import is_xgboost
from contract.base_model import refuse_newer
from contract.comparison import Interval
from contract.documents import FittedIn, RunDocument, Snapshot, Training, parse
from contract.errors import TransientError
from contract.keys import digest_of
from contract.metrics import MetricName
from contract.spec import ModelSpec
from spark_jobs.runtime.shared_folder import SharedFolder

TAGS_FORMAT = 1  # of a run's and a version's tags; rises as that of a document does
MODEL, PIPELINE, ONNX = "spark-model", "sparkml", "onnx"
# Three attempts of 15 s and the pauses between them: an unreachable MLflow is an error within a minute.
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class TrackingFailed(TransientError):
    """MLflow did not answer or refused a request."""


class Result(NamedTuple):
    """Results of one training; `seconds` by stage."""

    params: dict[str, Any]
    metrics: Mapping[MetricName, float]
    train_rows: int
    holdout_rows: int
    train_until: datetime | None
    folds: dict[MetricName, Interval]
    fitted_in: FittedIn
    seconds: dict[str, float]


def connect(url: str) -> None:
    """Sets the MLflow server for all later calls. Raises TrackingFailed within a minute if it does not answer."""
    os.environ.update(PATIENCE)
    mlflow.set_tracking_uri(url)
    mlflow.set_registry_uri(url)
    with translate_mlflow_errors():
        MlflowClient().search_registered_models(max_results=1)


def find_training(model: str, key: str) -> Training | None:
    """The training that an earlier attempt of this request has registered; its alias and run status are set again."""
    with translate_mlflow_errors():
        client = MlflowClient()
        versions = client.search_model_versions(f"name = '{model}' and tags.request = '{key}'")
        if not versions:
            return None
        version = min(versions, key=lambda registered: int(registered.version))
        training = training_of(version)
        _finish(client, version)
        return training


def training_of(version: ModelVersion) -> Training:
    """The document that was stored in the version's tags. Raises TooNew for tags of a later format."""
    tags = version.tags
    refuse_newer("The tag set of a version in MLflow", int(tags.get("format", TAGS_FORMAT)), TAGS_FORMAT)
    return parse(Training, json.dumps({**json.loads(tags["training"]), "version": int(version.version)}))


def log_training(run: RunDocument, key: str, snapshot: Snapshot, result: Result, folder: Path) -> Training:
    """Everything in `folder` and `result` becomes an MLflow run and a new version with the alias `challenger`."""
    with translate_mlflow_errors():
        client = MlflowClient()
        experiment = _experiment(client, run.model)
        origin = digest_of([run.platform.store, run.folder])[:32]
        _fail_leftovers(client, experiment, origin)
        tags = {"origin": origin, "request": key, "run": run.folder, "spec_hash": run.spec_hash, "code_hash": run.code_hash}
        tags |= {"fingerprint": snapshot.fingerprint, "as_of": run.as_of.isoformat(), "format": str(TAGS_FORMAT)}
        started, since = client.create_run(experiment, tags=tags, run_name=f"{run.as_of:%Y-%m-%d %H:%M}"), monotonic()
        client.log_artifacts(started.info.run_id, str(folder))
        result.seconds["mlflow"] = round(monotonic() - since, 3)
        client.log_batch(started.info.run_id, _metrics(result), [Param(k, str(v)) for k, v in _params(run.spec, result).items()])
        training = _training(started, result)
        version = _register(client, started, tags, training)
        _finish(client, version)
    return training.model_copy(update={"version": int(version.version)})


def save_model(pipeline: PipelineModel, spec: ModelSpec, folder: Path, shared: SharedFolder) -> Path:
    """Writes MLflow's Spark flavor without its slow inference of requirements; returns the pipeline's folder."""
    saved = folder / MODEL / PIPELINE
    shared.save(pipeline, saved)
    for checksum in saved.rglob(".*.crc"):
        checksum.unlink()  # half of all files, and each file is a request to MLflow
    metadata = Model(artifact_path=MODEL, signature=_signature(spec))
    metadata.add_flavor(
        "spark", pyspark_version=pyspark.__version__, model_data=PIPELINE, model_class="pyspark.ml.pipeline.PipelineModel"
    )
    metadata.save(str(folder / MODEL / "MLmodel"))
    needs = [f"pyspark=={pyspark.__version__}"]
    needs += [f"xgboost-cpu=={xgboost.__version__}"] if is_xgboost(spec.algorithm.name) else []
    (folder / MODEL / "requirements.txt").write_text("".join(f"{need}\n" for need in needs))
    return saved


def _signature(spec: ModelSpec) -> ModelSignature:
    columns = [*(("double", name) for name in spec.examples.numeric), *(("string", name) for name in spec.examples.categorical)]
    return ModelSignature(
        inputs=Schema([ColSpec(kind, name, required=False) for kind, name in columns]),  # nulls are imputed or a level of their own
        outputs=Schema([ColSpec("double", "prediction")]),
    )


def _experiment(client: MlflowClient, model: str) -> str:
    experiment = client.get_experiment_by_name(model)
    return (
        experiment.experiment_id
        if experiment
        else client.create_experiment(model, tags={"mlflow.experimentKind": "custom_model_development"})
    )


def _fail_leftovers(client: MlflowClient, experiment: str, origin: str) -> None:
    """Ends open MLflow runs of earlier attempts as FAILED: only this attempt of the run is alive."""
    for run in client.search_runs([experiment], f"tags.origin = '{origin}' and attributes.status = 'RUNNING'"):
        client.set_terminated(run.info.run_id, "FAILED")


def _params(spec: ModelSpec, result: Result) -> dict[str, Any]:
    return {"algorithm": spec.algorithm.name, "fitted_in": result.fitted_in, **result.params, **spec.features.model_dump()}


def _metrics(result: Result) -> list[Metric]:
    now = int(time() * 1000)
    named: dict[str, float] = {f"holdout.{name}": value for name, value in result.metrics.items()}
    named |= {f"seconds.{stage}": value for stage, value in result.seconds.items()}
    named |= {"rows.train": result.train_rows, "rows.holdout": result.holdout_rows}
    return [Metric(name, float(value), now, 0) for name, value in named.items()]


def _training(run: Run, result: Result) -> Training:
    url = f"{mlflow.get_tracking_uri()}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    fields = result._asdict()
    del fields["metrics"]
    return Training(mlflow_run=run.info.run_id, mlflow_url=url, version=0, **fields)


def _register(client: MlflowClient, run: Run, tags: dict[str, str], training: Training) -> ModelVersion:
    """Registers the version with its tags in one call, so that no version is ever without them."""
    name = client.get_experiment(run.info.experiment_id).name
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    until = training.train_until.isoformat() if training.train_until else ""
    tags = {**tags, "train_until": until, "training": training.model_dump_json(exclude={"version"})}
    source = f"{run.info.artifact_uri}/{MODEL}"
    return client.create_model_version(name, source, run.info.run_id, tags, await_creation_for=0)


def _finish(client: MlflowClient, version: ModelVersion) -> None:
    client.set_registered_model_alias(version.name, "challenger", version.version)
    if version.run_id is not None:  # every version of this project has a run
        client.set_terminated(version.run_id, "FINISHED")


@contextmanager
def translate_mlflow_errors() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        first = str(error).partition("\n")[0]
        reason = first.rpartition("(Caused by ")[2][:300]  # the cause of a failed connection is at the message's end
        raise TrackingFailed(
            f"MLflow at {mlflow.get_tracking_uri()} failed: {reason}. "
            "See that it runs and that the platform file names it, then clear this task"
        ) from error
