"""Holdouts and answers without a valid test: the verdict is never to promote, and gives the reason."""

from pathlib import Path

import pytest
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from contract.comparison import Comparison, Parity, ReferenceComparison, Verdict
from contract.documents import Snapshot
from contract.spec import ModelSpec
from plugins.retraining.decision.gate import decide
from spark_jobs.comparison.comparisons import ReferenceModel, compare_pairs
from spark_jobs.comparison.holdout import HoldoutFacts, Scored
from spark_jobs.statistics.blocks import groupings_of
from spark_jobs.statistics.predictions import answer
from spark_jobs.tracking.model_versions import Version
from tests.spark_jobs.runs import AS_OF, run_of

SPEC = {
    "name": "late",
    "description": "late?",
    "owner": "ops",
    "sources": {"flights": {"format": "parquet", "path": "flights"}},
    "examples": {"id": "id", "time": "at", "label": "late", "numeric": ["x"]},
    "task": "binary",
    "split": {"holdout": "14d"},
    "algorithm": {"name": "gbt_classifier"},
    "gate": {"metric": "log_loss", "rule": "not_worse", "margin": 0.001},
}
GOOD = "if(late = 1, 0.4, 0.2) + 0.4 * rand(2)"
ROWS = 14 * 500


@pytest.fixture(scope="module")
def holdout(spark: SparkSession) -> DataFrame:
    """14 days of 500 rows; each row has a customer of its own."""
    since = f"timestamp_seconds({int(AS_OF.timestamp())} - 1 - id * 172)"
    columns = ["cast(id AS string) AS id", f"{since} AS at", "double(rand(1) < 0.3) AS late"]
    rows = spark.range(ROWS).selectExpr(*columns, "'c' || id AS customer", "'all' AS one")
    return rows.persist()


def compare(holdout: DataFrame, ours: str, theirs: str, **gate: object) -> ReferenceComparison:
    """`ours`, `theirs`: each model's probability of being late, as SQL."""
    spec = ModelSpec.model_validate({**SPEC, "gate": {**SPEC["gate"], **gate}})
    challenger = Version(PipelineModel([]), spec, None, [0, 1], {}, AS_OF, AS_OF, Path("onnx"), "r")
    sides = {"challenger": F.expr(f"double({ours})"), "reference": F.expr(f"double({theirs})")}
    blocks = [block.alias(name) for name, block in groupings_of(spec, AS_OF).items()]
    answers = [
        answer("binary", F.col("late"), [0, 1], F.array(1 - score, score), F.round(score), 0.0).alias(side)
        for side, score in sides.items()
    ]
    pairs = holdout.select("*", *blocks, *answers).persist()
    snapshot = Snapshot(uri="/s", fingerprint="f", rows={}, as_of=AS_OF)
    scored = Scored(run_of(spec), snapshot, challenger, pairs, HoldoutFacts(ROWS, 0.0))
    return compare_pairs(scored, pairs, ReferenceModel("champion", 3))


def verdict(compared: ReferenceComparison, **gate: object) -> Verdict:
    spec = ModelSpec.model_validate({**SPEC, "gate": {**SPEC["gate"], **gate}})
    parity = Parity(rows=1, largest=0.0, labels_differ=0)
    return decide(Comparison(version=4, comparisons=(compared,), anchor=3, parity=parity, golden="g", seconds=1.0), spec.gate)


BETTER, WORSE = GOOD, "0.3 + 0.4 * rand(3)"


def test_a_better_challenger_is_promoted_here(holdout: DataFrame) -> None:
    """Control case: without it the cases below would prove nothing."""
    assert verdict(compare(holdout, BETTER, WORSE)).decision == "promote"


@pytest.mark.parametrize(
    ("ours", "theirs", "gate", "decision", "sentence"),
    [
        ("0.5", "0.5", {}, "inconclusive", "it does not vary between blocks"),
        ("0.5", "0.5", {"metric": "auc"}, "inconclusive", "it does not vary between blocks"),
        ("0.5", GOOD, {"metric": "auc"}, "keep", "auc worsens"),
        ("0.5", GOOD, {"metric": "f1"}, "keep", "f1 worsens"),
        ("late", GOOD, {"metric": "f1", "rule": "better", "margin": 2}, "keep", "f1 improves"),
        ("1 - late", GOOD, {}, "keep", "log_loss worsens: -34"),  # certain, and wrong: −ln 1e-15 each
        ("if(id = '7', 1 - late, late)", "late", {}, "inconclusive", "not conclusive"),
        ("if(id = '7', double('NaN'), late)", WORSE, {}, "inconclusive", "it is undefined on these rows"),
        ("if(id = '7', null, late)", WORSE, {}, "inconclusive", "it is undefined on these rows"),
        (BETTER, WORSE, {"blocks": ["one"]}, "inconclusive", "there are 1 blocks and at least 7 are needed"),
        (BETTER, WORSE, {"blocks": ["time", "one"]}, "inconclusive", "there are 1 blocks and at least 7 are needed"),
    ],
)
def test_a_strange_answer_is_never_promoted(
    holdout: DataFrame, ours: str, theirs: str, gate: dict, decision: str, sentence: str
) -> None:
    decided = verdict(compare(holdout, ours, theirs, **gate), **gate)

    assert (decided.decision, sentence in decided.reason) == (decision, True), decided.reason


@pytest.mark.parametrize("metric", ["log_loss", "auc", "brier", "accuracy", "average_precision"])
def test_rows_of_one_class_show_nothing(holdout: DataFrame, metric: str) -> None:
    """The part of the holdout that the champion has not seen may have one class only."""
    compared = compare(holdout.where("late = 0"), BETTER, WORSE, metric=metric)

    assert compared.metrics[0].improvement.why == "a class has 0 rows and at least 50 are needed"
    assert verdict(compared, metric=metric).decision == "inconclusive"


def test_a_slice_column_of_many_values_is_pooled(spark: SparkSession, holdout: DataFrame) -> None:
    many = holdout.withColumn("customer", F.expr("if(id < 1000, 'large', customer)"))  # and 6,000 of one row each
    slices = {"columns": ["customer"], "margin": 0.01}

    compared = compare(many, BETTER, WORSE, slices=slices)

    assert [(slice_of.value, slice_of.pooled, slice_of.rows) for slice_of in compared.slices] == [
        ("", 6000, 6000),
        ("large", 0, 1000),
    ]
    assert verdict(compared, slices=slices).decision == "promote"


def test_a_hundred_thousand_values_are_two_slices(spark: SparkSession, holdout: DataFrame) -> None:
    rows = holdout.drop("id").crossJoin(spark.range(15)).withColumn("id", F.expr("customer || '-' || id"))
    many = rows.withColumn("customer", F.expr("if(rand(9) < 0.05, null, id)"))

    compared = compare(many, BETTER, WORSE, slices={"columns": ["customer"], "margin": 0.01})

    assert [slice_of.value for slice_of in compared.slices] == ["", None]
    assert compared.slices[0].pooled > 95_000
