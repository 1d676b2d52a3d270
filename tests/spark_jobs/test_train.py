"""The whole job on a small table, against a real MLflow."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient
from pyspark.sql import SparkSession

from contract import documents
from contract.documents import JobRequest, RunDocument, Snapshot, Training, ValidationReport
from contract.errors import BadData
from contract.paths import RunFolder
from contract.spec import ModelSpec
from contract.store.local import LocalStore
from spark_jobs.data.handover import Handover
from spark_jobs.jobs import train
from spark_jobs.tracking import model_versions

pytest_plugins = ["tests.spark_jobs.mlflow_server"]

START = datetime(2026, 1, 1, tzinfo=UTC)
AS_OF = datetime(2026, 1, 5, tzinfo=UTC)  # four days of a row every 15 minutes, the last of them held out
GATES = ("a", "b", None)
LOGISTIC = {"name": "logistic_regression", "search": {"grid": {"regParam": [0.0, 0.1]}}}


def spec_with(name: str, task: str = "binary", algorithm: dict = LOGISTIC, **changes: object) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "name": name,
            "description": "late?",
            "owner": "ops",
            "sources": {"flights": {"format": "parquet", "path": "flights"}},
            "examples": {"sql": "late.sql", "id": "id", "time": "at", "label": "y", "numeric": ["delay"], "categorical": ["gate"]},
            "task": task,
            "split": {"holdout": "1d"},
            "algorithm": algorithm,
            "gate": {"metric": "rmse" if task == "regression" else "log_loss"},
            **changes,
        }
    )


def request_for(spec: ModelSpec, sql: str, url: str, store: LocalStore, snapshot: str, key: str = "k1") -> JobRequest:
    folder = RunFolder.of(spec.name, "manual__1").path
    frozen = Snapshot(uri=snapshot, fingerprint="f1", rows={"flights": 384}, as_of=AS_OF)
    documents.write(store, f"{folder}/validate-v.json", ValidationReport(snapshot=frozen, checks=(), seconds=1.0))
    run = RunDocument.model_validate(
        {
            "model": spec.name,
            "run_id": "manual__1",
            "folder": folder,
            "clear_number": 0,
            "as_of": AS_OF,
            "backfill": False,
            "spec": spec,
            "spec_hash": "s1",
            "sql": sql,
            "suites": {},
            "platform": {
                "name": "local",
                "store": store.root,
                "data": "/data",
                "mlflow": url,
                "spark": {"python": "python"},
                "images": {"repository": "oci:/images"},
                "serving": {"python": "python"},
            },
            "champion": None,
            "code_hash": "c1",
        }
    )
    return JobRequest(job="train", key=key, run=run, inputs={"validate": f"{folder}/validate-v.json"})


@pytest.fixture(scope="module")
def snapshot(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    """384 rows: delay 0 to 9, repeating; noise where the row's number divides by 7."""
    rows = [(i, START + timedelta(minutes=15 * i), float(i % 10), GATES[i % 3], i % 7 == 0) for i in range(384)]
    uri = str(tmp_path_factory.mktemp("snapshot"))
    spark.createDataFrame(rows, "id int, at timestamp, delay double, gate string, odd boolean").write.parquet(f"{uri}/flights")
    return uri


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path / "store"))


BINARY_SQL = "SELECT *, (delay >= 5) != odd AS y FROM flights"


def artifacts(training: Training) -> set[str]:
    return {artifact.path for artifact in MlflowClient().list_artifacts(training.mlflow_run)}


def table(training: Training, name: str, folder: Path) -> list[dict]:
    content = json.loads(Path(MlflowClient().download_artifacts(training.mlflow_run, f"{name}.json", str(folder))).read_text())
    return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


def test_a_binary_model_is_searched_trained_and_registered_and_a_retry_takes_it_up_and_trains_nothing(
    spark: SparkSession, mlflow_url: str, store: LocalStore, snapshot: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    grid = {"name": "gbt_classifier", "params": {"maxDepth": 2}, "search": {"grid": {"stepSize": [0.1, 0.5], "maxIter": [1, 3]}}}
    request = request_for(spec_with("binary_model", algorithm=grid), BINARY_SQL, mlflow_url, store, snapshot)

    training = train.run(spark, request, store)

    assert training.version == 1
    assert (training.train_rows, training.holdout_rows) == (288, 96)
    assert training.train_until == datetime(2026, 1, 3, 23, 45, tzinfo=UTC)
    assert {"stepSize", "maxIter", "maxDepth"} <= set(training.params)
    assert {"examples", "features", "search", "fit", "evaluate", "save", "export", "mlflow"} <= set(training.seconds)
    tables = {"confusion.json", "confusion.png", "calibration.json", "calibration.png", "candidates.json"}
    tables |= {"importance.json", "importance.png"}
    assert artifacts(training) == {*tables, "spark-model", "onnx", "spec.json", "features.json", "features.sql"}
    confusion = table(training, "confusion", tmp_path)
    assert [(row["label"], row["prediction"]) for row in confusion] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert sum(row["rows"] for row in confusion) == 96
    candidates = table(training, "candidates", tmp_path)
    assert {name: candidates[0][name] for name in training.params} == training.params
    assert len(candidates) == 4
    version = model_versions.load_version("binary_model", 1, tmp_path / "loaded", Handover())
    assert version.pipeline.stages[-1].getNumTrees == training.params["maxIter"]
    assert "fitted gbt_classifier to all rows" in capsys.readouterr().out

    assert train.run(spark, request, store) == training
    assert capsys.readouterr().out == "train: version 1 of binary_model was registered by an earlier attempt\n"
    assert len(MlflowClient().search_model_versions("name = 'binary_model'")) == 1


def test_classes_by_name_are_ordered_and_kept_with_the_version(
    spark: SparkSession, mlflow_url: str, store: LocalStore, snapshot: str, tmp_path: Path
) -> None:
    spec = spec_with("multiclass_model", "multiclass", {"name": "logistic_regression", "params": {"maxIter": 5}})
    sql = "SELECT *, CASE WHEN delay < 3 THEN 'punctual' WHEN delay < 6 THEN 'late' ELSE 'dire' END AS y FROM flights"

    training = train.run(spark, request_for(spec, sql, mlflow_url, store, snapshot), store)

    assert model_versions.load_version("multiclass_model", 1, tmp_path / "loaded", Handover()).labels == [
        "dire",
        "late",
        "punctual",
    ]
    assert len(table(training, "confusion", tmp_path)) == 9
    assert "candidates.json" not in artifacts(training)


def test_a_regression_leaves_residuals_instead_of_a_confusion(
    spark: SparkSession, mlflow_url: str, store: LocalStore, snapshot: str, tmp_path: Path
) -> None:
    spec = spec_with("regression_model", "regression", {"name": "linear_regression"})
    sql = "SELECT *, 2 * delay + CAST(odd AS int) AS y FROM flights"

    training = train.run(spark, request_for(spec, sql, mlflow_url, store, snapshot), store)

    paths = artifacts(training)
    assert {"residuals.json", "residuals.png", "predicted_actual.json", "predicted_actual.png"} <= paths
    assert sum(row["rows"] for row in table(training, "residuals", tmp_path)) == 96
    metrics = MlflowClient().get_run(training.mlflow_run).data.metrics
    assert metrics["holdout.r2"] > 0.99
    assert model_versions.load_version("regression_model", 1, tmp_path / "loaded", Handover()).labels is None


def test_no_rows_before_the_holdout_is_bad_data(spark: SparkSession, mlflow_url: str, store: LocalStore, snapshot: str) -> None:
    spec = spec_with("starved_model", split={"holdout": "30d"})

    with pytest.raises(BadData, match="starved_model has no rows to train on"):
        train.run(spark, request_for(spec, BINARY_SQL, mlflow_url, store, snapshot), store)


def test_no_rows_held_out_is_bad_data(spark: SparkSession, mlflow_url: str, store: LocalStore, snapshot: str) -> None:
    sql = "SELECT *, delay >= 5 AS y FROM flights WHERE at < timestamp '2026-01-04'"

    with pytest.raises(BadData, match="untested_model has no rows held out, only 288 to train on"):
        train.run(spark, request_for(spec_with("untested_model"), sql, mlflow_url, store, snapshot), store)
