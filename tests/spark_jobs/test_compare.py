"""The whole job: two versions trained and registered in a real MLflow, compared on the same rows."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient
from pyspark.sql import SparkSession

from contract import documents
from contract.comparison import Comparison, ReferenceComparison
from contract.documents import Champion, GoldenRows, JobRequest, Snapshot, Training, ValidationReport
from contract.spec import ModelSpec
from contract.store.local import LocalStore
from spark_jobs.jobs import compare, train
from tests.spark_jobs.queries import counted
from tests.spark_jobs.runs import run_of

pytest_plugins = ["tests.spark_jobs.mlflow_server"]

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


SNAPSHOT = Snapshot(uri="/snapshot", fingerprint="f", rows={"flights": 1}, as_of=NEWER)


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

    def train(self, as_of: datetime, spec: ModelSpec = SPEC) -> Training:
        request = self.request("train", as_of, None, {"validate": "runs/late/1/validate-v.json"}, f"{as_of:%d}", spec)
        training = train.run(self.spark, request, self.store)
        documents.write(self.store, f"runs/late/1/train-{as_of:%d}.json", training)
        return training

    def compare(self, as_of: datetime, champion: Champion | None, key: str, spec: ModelSpec = SPEC) -> Comparison:
        inputs = {"validate": "runs/late/1/validate-v.json", "train": f"runs/late/1/train-{as_of:%d}.json"}
        return compare.run(self.spark, self.request("compare", as_of, champion, inputs, key, spec), self.store)

    def request(
        self, job: str, as_of: datetime, champion: Champion | None, inputs: dict, key: str, spec: ModelSpec = SPEC
    ) -> JobRequest:
        platform = {"store": self.store.root, "mlflow": self.url}
        run = run_of(spec, run_id=f"{as_of:%d}", as_of=as_of, champion=champion, **platform)
        return JobRequest(job=job, key=key, run=run, inputs=inputs)


def _late(number: int) -> bool:
    """Mostly decided by the delay, sometimes by chance."""
    return (number * 37 % 100 > 60) != (number * 7919 % 13 < 3)


@pytest.fixture(scope="module")
def lines(spark: SparkSession, mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> Lines:
    return Lines(spark, mlflow_url, tmp_path_factory.mktemp("compare"))


def champion_of(training: Training, as_of: datetime) -> Champion:
    return Champion(version=training.version, digest="sha256:1", as_of=as_of)


# A comparison takes few queries: 8 load a version, 2 make a view and count the holdout, 1 gives parity and golden rows;
# Spark 3.5 loads by fewer.
AGAINST_BASELINE, AGAINST_CHAMPION = 17, 25


def test_a_first_model_is_compared_with_the_baseline_and_leaves_golden_rows_and_its_numbers_in_mlflow(
    lines: Lines, tmp_path: Path
) -> None:
    document, queries = counted(lines.spark, lambda: lines.compare(NEWER, None, "first"))

    assert queries <= AGAINST_BASELINE
    compared = document.comparisons[0]
    assert (compared.reference, compared.version, compared.incomparable) == ("baseline", None, "")
    assert compared.rows == 9 * 24
    assert [result.metric for result in compared.metrics[:3]] == ["log_loss", "auc", "brier"]  # the gate's and its guards' first
    log_loss = compared.metrics[0].improvement
    assert 0 < log_loss.low < log_loss.value < log_loss.high
    assert log_loss.blocks == 9
    assert compared.metrics[1].challenger.low > 0.6
    assert compared.metrics[1].reference.value == 0.5
    assert document.parity.rows == compared.rows
    assert document.golden == "runs/late/1/golden-first.json"
    golden = documents.read(lines.store, document.golden, GoldenRows)
    assert golden.columns == ("delay", "gate")
    assert len(golden.rows) == 50
    assert any(gate is None for _, gate in golden.rows)
    assert all(sum(expected) == pytest.approx(1) for expected in golden.expected)

    logged = MlflowClient().get_run(lines.newer.mlflow_run).data.metrics
    assert logged["compare.log_loss.improvement.low"] == log_loss.low
    copied = MlflowClient().download_artifacts(lines.newer.mlflow_run, "comparison.json", str(tmp_path))
    assert Comparison.model_validate(json.loads(Path(copied).read_text())) == document


def test_challenger_and_champion_answer_the_same_rows(lines: Lines) -> None:
    document, queries = counted(lines.spark, lambda: lines.compare(NEWER, champion_of(lines.older, OLDER), "second"))

    assert queries <= AGAINST_CHAMPION
    compared = document.comparisons[0]
    assert (compared.reference, compared.version, compared.incomparable) == ("champion", lines.older.version, "")
    for result in compared.metrics:
        sign = -1 if result.metric in ("log_loss", "brier") else 1
        assert result.improvement.value == pytest.approx(sign * (result.challenger.value - result.reference.value))
    log_loss = compared.metrics[0].improvement
    assert log_loss.low < log_loss.value < log_loss.high
    assert abs(log_loss.value) < 0.1  # two fits of one recipe


def test_a_version_compared_with_itself_has_no_interval(lines: Lines) -> None:
    compared = lines.compare(OLDER, champion_of(lines.older, OLDER), "itself").comparisons[0]

    assert {(result.improvement.value, result.improvement.low) for result in compared.metrics} == {(0.0, None)}
    assert compared.metrics[0].improvement.why == "it does not vary between blocks"


def test_a_champion_that_has_seen_the_whole_holdout_gives_no_numbers_but_golden_rows_and_parity(lines: Lines) -> None:
    document = lines.compare(OLDER, champion_of(lines.newer, NEWER), "seen")

    assert document.comparisons[0].metrics == ()
    assert document.comparisons[0].incomparable == "the champion has learned from all rows of the holdout"
    assert document.parity.rows == 9 * 24
    assert len(documents.read(lines.store, document.golden, GoldenRows).rows) == 50


def test_a_champion_that_has_seen_a_part_of_the_holdout_is_compared_on_the_rest(lines: Lines) -> None:
    """The newer version has learned from rows until the 15th, 23:00; its own holdout begins then."""
    later = lines.train(datetime(2026, 1, 18, tzinfo=UTC))  # learned until the 8th
    compared = lines.compare(OLDER, champion_of(later, datetime(2026, 1, 14, tzinfo=UTC)), "part").comparisons[0]

    assert compared.unseen_after == datetime(2026, 1, 8, 23, tzinfo=UTC)
    assert compared.rows == 6 * 24  # the 9th to the 14th
    assert {result.improvement.why for result in compared.metrics} == {"there are 6 blocks and at least 7 are needed"}


@pytest.mark.parametrize(
    ("unlabelled", "compared", "reason"),
    [
        (0.019, 1000, ""),
        (0.021, 1000, "2.1% of the holdout's rows have no late yet and at most 2.0% may have none"),
        (0.019, 300, "6.1% of the holdout's rows"),  # 19.4 of 319.4: those without label are mostly the newest
    ],
)
def test_a_comparison_without_too_many_labels_shows_nothing(unlabelled: float, compared: int, reason: str) -> None:
    report = ValidationReport(snapshot=SNAPSHOT, checks=(), unlabelled=unlabelled, seconds=1)
    compared = ReferenceComparison(reference="champion", version=1, rows=compared)

    (checked,) = compare.require_labels([compared], report, 1000, SPEC)

    assert checked.incomparable.startswith(reason)
    assert bool(checked.incomparable) == bool(reason)


def test_an_anchor_is_a_second_reference_where_freshness_alone_is_promoted(lines: Lines) -> None:
    champion = champion_of(lines.older, OLDER).model_copy(update={"anchor": 99})
    gate = {**SPEC.gate.model_dump(), "rule": "not_worse", "margin": 0.01}
    spec = ModelSpec.model_validate({**SPEC.model_dump(), "gate": gate})

    document = lines.compare(NEWER, champion, "anchored", spec)

    assert document.anchor == 99
    assert [(compared.reference, compared.version, compared.rows) for compared in document.comparisons] == [
        ("champion", 1, 216),
        ("anchor", 99, 0),
    ]
    assert document.comparisons[1].incomparable == "MLflow has no version 99 of late any more"


def test_slices_are_judged_by_value_and_small_ones_together(lines: Lines) -> None:
    gate = {**SPEC.gate.model_dump(), "slices": {"columns": ["gate"], "margin": 0.01, "min_rows": 50}}
    spec = ModelSpec.model_validate({**SPEC.model_dump(), "gate": gate})

    slices = lines.compare(NEWER, champion_of(lines.older, OLDER), "sliced", spec).comparisons[0].slices

    assert sorted((part.value, part.rows) for part in slices if not part.pooled) == [("a", 65), ("b", 66), ("c", 65)]
    assert [(part.pooled, part.rows) for part in slices if part.pooled] == [(1, 20)]  # the rows without a gate
    assert all(part.improvement.low is None or 0 <= part.p_worse <= 1 for part in slices)


def test_a_recipe_that_was_changed_is_compared_on_folds_with_the_champions(lines: Lines) -> None:
    examples = {**SPEC.examples.model_dump(), "categorical": ()}
    changed = ModelSpec.model_validate({**SPEC.model_dump(), "split": {"holdout": "3d", "folds": 3}, "examples": examples})
    as_of = datetime(2026, 1, 24, tzinfo=UTC)
    lines.train(as_of, changed)

    change = lines.compare(as_of, champion_of(lines.older, OLDER), "recipe", changed).recipe

    assert (change.changed, change.rows, change.why) == (("columns",), 3 * 3 * 24, "")
    assert change.result.challenger.value < 0.69
