"""The whole job: two versions trained and registered in a real MLflow, compared on the same rows."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient
from pyspark.sql import SparkSession

from contract import documents
from contract.documents import Champion, Comparison, GoldenRows, JobRequest, RunDocument, Snapshot, Training, ValidationReport
from contract.spec import ModelSpec
from contract.store import LocalStore
from spark_jobs.jobs import compare, train

pytest_plugins = ["tests.spark.mlflow_server"]

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
OLDER, NEWER = datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 1, 25, tzinfo=UTC)
SPEC = ModelSpec.model_validate(
    {
        "name": "late",
        "description": "late?",
        "owner": "ops",
        "sources": {"flights": {"format": "parquet", "path": "flights"}},
        "examples": {"id": "id", "time": "at", "label": "late", "numeric": ["delay"], "categorical": ["gate"]},
        "task": "binary",
        "split": {"holdout": "9d"},
        "algorithm": {"name": "logistic_regression"},
        "gate": {"metric": "log_loss", "guards": [{"metric": "auc", "min": 0.6}]},
    }
)


class Lines:
    """One model's history: two versions, the older of which has seen nothing of the newer one's holdout."""

    def __init__(self, spark: SparkSession, url: str, home: Path):
        self.spark = spark
        self.url = url
        self.store = LocalStore(str(home / "store"))
        self.snapshot = Snapshot(uri=str(home / "snapshot"), fingerprint="f", rows={"flights": 24 * 24}, as_of=NEWER)
        rows = [
            (i, FIRST + timedelta(hours=i), float(i * 37 % 100), "abc"[i % 3] if i % 11 else None, _late(i)) for i in range(24 * 24)
        ]
        frame = spark.createDataFrame(rows, "id int, at timestamp, delay double, gate string, late boolean")
        frame.write.parquet(f"{self.snapshot.uri}/flights")
        report = ValidationReport(snapshot=self.snapshot, checks=(), seconds=1.0)
        documents.write(self.store, "runs/late/1/validate-v.json", report)
        self.older = self.train(OLDER)
        self.newer = self.train(NEWER)

    def train(self, as_of: datetime) -> Training:
        request = self.request("train", as_of, None, {"validate": "runs/late/1/validate-v.json"}, key=f"{as_of:%d}")
        training = train.run(self.spark, request, self.store)
        documents.write(self.store, f"runs/late/1/train-{as_of:%d}.json", training)
        return training

    def compare(self, as_of: datetime, champion: Champion | None, key: str) -> Comparison:
        inputs = {"validate": "runs/late/1/validate-v.json", "train": f"runs/late/1/train-{as_of:%d}.json"}
        return compare.run(self.spark, self.request("compare", as_of, champion, inputs, key), self.store)

    def request(self, job: str, as_of: datetime, champion: Champion | None, inputs: dict, key: str) -> JobRequest:
        platform = {
            "name": "local",
            "store": self.store.root,
            "data": "/data",
            "mlflow": self.url,
            "spark": {"python": "python"},
            "images": {"repository": "oci:/images"},
            "serving": {"python": "python"},
        }
        run = RunDocument.model_validate(
            {
                **{"model": "late", "run_id": f"{as_of:%d}", "folder": "runs/late/1", "clear_number": 0, "as_of": as_of},
                **{"backfill": False, "spec": SPEC, "spec_hash": "s", "sql": None, "suites": {}, "platform": platform},
                **{"champion": champion, "code_hash": "c"},
            }
        )
        return JobRequest(job=job, key=key, run=run, inputs=inputs)


def _late(number: int) -> bool:
    """Mostly decided by the delay, sometimes by chance."""
    return (number * 37 % 100 > 60) != (number * 7919 % 13 < 3)


@pytest.fixture(scope="module")
def lines(spark: SparkSession, mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> Lines:
    return Lines(spark, mlflow_url, tmp_path_factory.mktemp("compare"))


def champion_of(training: Training, as_of: datetime) -> Champion:
    return Champion(version=training.version, digest="sha256:1", as_of=as_of)


def test_a_first_model_is_compared_with_the_baseline_and_leaves_golden_rows_and_its_numbers_in_mlflow(
    lines: Lines, tmp_path: Path
) -> None:
    found = lines.compare(NEWER, None, "first")

    assert (found.opponent, found.champion_version, found.incomparable) == ("baseline", None, "")
    assert found.holdout_rows == 9 * 24
    assert [result.metric for result in found.metrics] == ["log_loss", "brier", "auc", "accuracy"]
    log_loss = found.metrics[0].improvement
    assert 0 < log_loss.low < log_loss.value < log_loss.high
    assert log_loss.blocks == 9
    assert found.metrics[2].challenger.low > 0.6
    assert found.metrics[2].against.value == 0.5
    assert found.parity.rows == found.holdout_rows
    assert found.golden == "runs/late/1/golden-first.json"
    golden = documents.read(lines.store, found.golden, GoldenRows)
    assert golden.columns == ("delay", "gate")
    assert len(golden.rows) == 50
    assert any(gate is None for _, gate in golden.rows)
    assert all(sum(expected) == pytest.approx(1) for expected in golden.expected)

    logged = MlflowClient().get_run(lines.newer.mlflow_run).data.metrics
    assert logged["compare.log_loss.improvement.low"] == log_loss.low
    copied = MlflowClient().download_artifacts(lines.newer.mlflow_run, "comparison.json", str(tmp_path))
    assert Comparison.model_validate(json.loads(Path(copied).read_text())) == found


def test_challenger_and_champion_answer_the_same_rows(lines: Lines) -> None:
    found = lines.compare(NEWER, champion_of(lines.older, OLDER), "second")

    assert (found.opponent, found.champion_version, found.incomparable) == ("champion", lines.older.version, "")
    for result in found.metrics:
        sign = -1 if result.metric in ("log_loss", "brier") else 1
        assert result.improvement.value == pytest.approx(sign * (result.challenger.value - result.against.value))
    log_loss = found.metrics[0].improvement
    assert log_loss.low < log_loss.value < log_loss.high
    assert abs(log_loss.value) < 0.1  # two fits of one recipe


def test_a_version_compared_with_itself_has_no_interval(lines: Lines) -> None:
    found = lines.compare(OLDER, champion_of(lines.older, OLDER), "itself")

    assert {(result.improvement.value, result.improvement.low) for result in found.metrics} == {(0.0, None)}
    assert found.metrics[0].improvement.why == "it does not vary between blocks"


def test_a_champion_that_has_seen_the_holdout_gives_no_numbers_but_golden_rows_and_parity(lines: Lines) -> None:
    found = lines.compare(OLDER, champion_of(lines.newer, NEWER), "seen")

    assert found.metrics == ()
    assert found.incomparable == "the champion was trained on rows until 2026-01-15 23:00, and the holdout begins 2026-01-06 00:00"
    assert found.parity.rows == found.holdout_rows == 9 * 24
    assert len(documents.read(lines.store, found.golden, GoldenRows).rows) == 50
