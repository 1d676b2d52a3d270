import shutil
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession

from contract.documents import RunDocument, Snapshot, Training
from contract.paths import RunFolder
from contract.spec import ModelSpec
from spark_jobs.data.handover import Handover
from spark_jobs.data.labels import with_label_index
from spark_jobs.export import write_model
from spark_jobs.runtime.shared_folder import SharedFolder
from spark_jobs.tracking import artifacts, mlflow_runs, model_versions
from spark_jobs.training.estimators import fit
from spark_jobs.training.features import fit_features

pytest_plugins = ["tests.spark_jobs.mlflow_server"]

AS_OF = datetime(2026, 2, 1, tzinfo=UTC)
UNTIL = datetime(2026, 1, 30, 23, 59, tzinfo=UTC)
SNAPSHOT = Snapshot(uri="/nowhere", fingerprint="f1", rows={"flights": 4}, as_of=AS_OF)


def spec_named(name: str) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "name": name,
            "description": "late?",
            "owner": "ops",
            "sources": {"flights": {"format": "parquet", "path": "flights"}},
            "examples": {"id": "id", "label": "late", "numeric": ["delay"], "categorical": ["gate"]},
            "task": "binary",
            "split": {"holdout": 0.2},
            "algorithm": {"name": "logistic_regression", "params": {"maxIter": 5}},
            "gate": {"metric": "log_loss"},
        }
    )


def run_of(spec: ModelSpec, url: str, sql: str | None = None, run_id: str = "manual__1") -> RunDocument:
    return RunDocument.model_validate(
        {
            "model": spec.name,
            "run_id": run_id,
            "folder": RunFolder.of(spec.name, run_id).path,
            "clear_number": 0,
            "as_of": AS_OF,
            "backfill": False,
            "spec": spec,
            "spec_hash": "s1",
            "sql": sql,
            "suites": {},
            "platform": {
                "name": "local",
                "store": "/store",
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


@pytest.fixture(scope="module")
def flights(spark: SparkSession) -> DataFrame:
    rows = [("1", 0.0, 1.0, "a"), ("2", 1.0, 9.0, "b"), ("3", 0.0, None, "b"), ("4", 1.0, 7.0, None)]
    return spark.createDataFrame(rows, "id string, late double, delay double, gate string")


@pytest.fixture(scope="module")
def pipeline(flights: DataFrame) -> PipelineModel:
    spec = spec_named("any")
    rows = with_label_index(flights, spec, [0, 1])
    stages = fit_features(rows, spec).pipeline
    model = fit("logistic_regression", {"maxIter": 5}, stages.transform(rows), "late", seed=1)
    return PipelineModel([*stages.stages, model])


@pytest.fixture(scope="module")
def saved(pipeline: PipelineModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the pipeline as it is logged: Spark's files and ONNX's."""
    folder, spec = tmp_path_factory.mktemp("saved"), spec_named("any")
    write_model(mlflow_runs.save_model(pipeline, spec, folder, SharedFolder()), spec, [0, 1], folder / "onnx")
    return folder


def log(run: RunDocument, saved: Path, folder: Path, key: str = "k1") -> Training:
    mlflow_runs.connect(run.platform.mlflow)
    shutil.copytree(saved, folder)
    artifacts.write_inputs(folder, run.spec, run.sql)
    result = mlflow_runs.Result({"maxIter": 5}, {"log_loss": 0.25}, 4, 2, UNTIL, {}, "executors", {"fit": 1.5})
    return mlflow_runs.log_training(run, key, SNAPSHOT, result, folder)


def test_a_registered_version_comes_back_whole(
    mlflow_url: str, pipeline: PipelineModel, saved: Path, flights: DataFrame, tmp_path: Path
) -> None:
    run = run_of(spec_named("whole"), mlflow_url, sql="SELECT 1")

    training = log(run, saved, tmp_path / "made")
    version = model_versions.load_version("whole", training.version, tmp_path / "loaded", Handover())

    assert training.version == 1
    assert version.spec == run.spec
    assert (version.sql, version.labels) == ("SELECT 1", [0, 1])
    assert (version.as_of, version.train_until) == (AS_OF, UNTIL)
    assert version.mlflow_run == training.mlflow_run
    assert sorted(path.name for path in version.onnx.iterdir()) == ["model.json", "model.onnx"]
    assert (version.onnx / "model.onnx").read_bytes() == (tmp_path / "made/onnx/model.onnx").read_bytes()
    before, after = (either.transform(flights).select("id", "probability").collect() for either in (pipeline, version.pipeline))
    assert before == after


def test_a_version_says_what_it_was_made_of(mlflow_url: str, saved: Path, tmp_path: Path) -> None:
    training = log(run_of(spec_named("told"), mlflow_url), saved, tmp_path / "made")

    client = MlflowClient()
    version, run = client.get_model_version("told", "1"), client.get_run(training.mlflow_run)
    assert {name: version.tags[name] for name in ("spec_hash", "code_hash", "fingerprint", "as_of", "train_until")} == {
        "spec_hash": "s1",
        "code_hash": "c1",
        "fingerprint": "f1",
        "as_of": "2026-02-01T00:00:00+00:00",
        "train_until": "2026-01-30T23:59:00+00:00",
    }
    assert version.tags["run"] == RunFolder.of("told", "manual__1").path
    assert version.aliases == ["challenger"]
    assert run.info.status == "FINISHED"
    assert (run.data.metrics["holdout.log_loss"], run.data.metrics["seconds.fit"], run.data.metrics["rows.train"]) == (0.25, 1.5, 4)
    assert (run.data.params["algorithm"], run.data.params["maxIter"], run.data.params["impute"]) == (
        "logistic_regression",
        "5",
        "median",
    )
    assert training.mlflow_url == f"{mlflow_url}/#/experiments/{run.info.experiment_id}/runs/{training.mlflow_run}"


def test_the_registered_model_is_one_that_mlflow_itself_can_read(mlflow_url: str, saved: Path, tmp_path: Path) -> None:
    log(run_of(spec_named("readable"), mlflow_url), saved, tmp_path / "made")

    about = mlflow.models.get_model_info("models:/readable@challenger")

    assert [(column.name, column.type.name, column.required) for column in about.signature.inputs.inputs] == [
        ("delay", "double", False),
        ("gate", "string", False),
    ]
    assert about.flavors["spark"]["model_data"] == "sparkml"


def test_a_second_try_of_the_same_request_takes_up_the_version(mlflow_url: str, saved: Path, tmp_path: Path) -> None:
    first = log(run_of(spec_named("twice"), mlflow_url), saved, tmp_path / "made", key="aa")
    client = MlflowClient()
    client.delete_registered_model_alias("twice", "challenger")  # as if the first try had died before its last two calls
    client.update_run(first.mlflow_run, status="RUNNING")

    assert mlflow_runs.find_training("twice", "aa") == first
    assert client.get_model_version_by_alias("twice", "challenger").version == "1"
    assert client.get_run(first.mlflow_run).info.status == "FINISHED"


def test_another_request_is_not_taken_up(mlflow_url: str, saved: Path, tmp_path: Path) -> None:
    log(run_of(spec_named("other"), mlflow_url), saved, tmp_path / "made", key="aa")

    assert mlflow_runs.find_training("other", "bb") is None
    assert mlflow_runs.find_training("never_trained", "aa") is None


def test_what_an_earlier_try_left_open_is_marked_failed_and_what_others_run_is_not(
    mlflow_url: str, saved: Path, tmp_path: Path
) -> None:
    spec = spec_named("cut_off")
    run = run_of(spec, mlflow_url)
    done = log(run, saved, tmp_path / "first", key="aa")
    client = MlflowClient()
    tags = client.get_run(done.mlflow_run).data.tags
    experiment = client.get_experiment_by_name("cut_off").experiment_id
    left = client.create_run(experiment, tags={"origin": tags["origin"], "request": "bb"})
    others = client.create_run(experiment, tags={"origin": "another run", "request": "cc"})

    log(run, saved, tmp_path / "second", key="dd")

    assert client.get_run(left.info.run_id).info.status == "FAILED"
    assert client.get_run(others.info.run_id).info.status == "RUNNING"


def test_a_later_version_takes_the_alias(mlflow_url: str, saved: Path, tmp_path: Path) -> None:
    spec = spec_named("again")
    log(run_of(spec, mlflow_url), saved, tmp_path / "first", key="aa")

    later = log(run_of(spec, mlflow_url, run_id="manual__2"), saved, tmp_path / "second", key="bb")

    assert later.version == 2
    assert MlflowClient().get_model_version("again", "2").aliases == ["challenger"]
    assert MlflowClient().get_model_version("again", "1").aliases == []


@pytest.fixture
def closed_url(mlflow_url: str) -> Iterator[str]:
    """URL of a port that is bound and not listening: connections are refused."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{closed.getsockname()[1]}"
    mlflow_runs.connect(mlflow_url)


@pytest.fixture
def silent_url(mlflow_url: str) -> Iterator[str]:
    """URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"
    mlflow_runs.connect(mlflow_url)


def test_an_mlflow_that_does_not_run_is_told_in_a_sentence(closed_url: str) -> None:
    with pytest.raises(mlflow_runs.TrackingFailed, match=f"MLflow at {closed_url} failed: .*refused.* See that it runs"):
        mlflow_runs.connect(closed_url)


def test_an_mlflow_that_never_answers_is_told_after_three_tries(silent_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mlflow_runs.PATIENCE, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")

    with pytest.raises(mlflow_runs.TrackingFailed, match=f"MLflow at {silent_url} failed: .*timed out"):
        mlflow_runs.connect(silent_url)


def test_three_tries_and_their_pauses_last_less_than_a_minute() -> None:
    tries = 1 + int(mlflow_runs.PATIENCE["MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
    pauses_s = sum(2**retry + 1 for retry in range(tries))  # a doubling pause, and up to a second of jitter each

    assert tries * int(mlflow_runs.PATIENCE["MLFLOW_HTTP_REQUEST_TIMEOUT"]) + pauses_s <= 60
