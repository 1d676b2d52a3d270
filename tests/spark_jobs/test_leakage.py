"""Features that leak the label, and features that are merely good."""

import pytest
from pyspark.sql import DataFrame, SparkSession

from contract.spec import ModelSpec
from spark_jobs.data.leakage import leaks, sampled

ROWS = 4_000
SPEC = {
    "name": "late",
    "description": "late?",
    "owner": "ops",
    "sources": {"flights": {"format": "parquet", "path": "flights"}},
    "examples": {"id": "id", "label": "late", "numeric": ["x"], "categorical": ["level"]},
    "task": "binary",
    "split": {"holdout": 0.2},
    "algorithm": {"name": "gbt_classifier"},
    "gate": {"metric": "auc"},
}
TASKS = {
    "binary": {},
    "multiclass": {"task": "multiclass", "algorithm": {"name": "logistic_regression"}, "gate": {"metric": "log_loss"}},
    "regression": {"task": "regression", "algorithm": {"name": "linear_regression"}, "gate": {"metric": "rmse"}},
}


def rows(spark: SparkSession, x: str, level: str, label: str = "double(id % 4 = 0)") -> DataFrame:
    return spark.range(ROWS).selectExpr("id", f"{label} AS late").selectExpr("id", "late", f"{x} AS x", f"{level} AS level")


def leaks_of(frame: DataFrame, task: str = "binary", **changes: object) -> list[str]:
    spec = ModelSpec.model_validate({**SPEC, **TASKS[task], **changes})
    return leaks(sampled(frame, spec, ROWS), spec)


ADVICE = "; if that is intended, name it in examples.allow_leakage"
GOOD, HARMLESS = "late + 2 * rand(1)", "string(id % 7)"


@pytest.mark.parametrize(
    ("x", "level", "expected"),
    [
        (GOOD, HARMLESS, []),
        ("late", HARMLESS, ["x separates late 0 from 1 in 99.9% of the rows"]),
        ("-3 * late + rand(1)", HARMLESS, ["x separates late 0 from 1 in 99.9% of the rows"]),
        ("if(late = 1, rand(1), null)", HARMLESS, ["x separates late 0 from 1 in 99.9% of the rows"]),  # written down only then
        ("if(id % 100 < 2, 1 - late, late)", HARMLESS, []),  # wrong in some
        (GOOD, "if(late = 1, 'yes', 'no')", ["level predicts late in 100.00% of the rows"]),
        (GOOD, "string(id)", []),  # a name of each row tells nothing about the next
        (GOOD, "if(id % 50 = 0, 'maybe', string(late))", []),
    ],
)
def test_a_feature_that_tells_two_classes_apart_is_found(spark: SparkSession, x: str, level: str, expected: list[str]) -> None:
    assert leaks_of(rows(spark, x, level)) == [f"{problem}{ADVICE}" for problem in expected]


def test_a_feature_that_follows_a_number_is_found(spark: SparkSession) -> None:
    label = "10 * rand(3)"

    assert leaks_of(rows(spark, "2 * late - 1 + 0.01 * rand(1)", HARMLESS, label), "regression")[0].startswith(
        "x explains 100.00% of late"
    )
    assert leaks_of(rows(spark, "2 * late - 1 + 2 * rand(1)", HARMLESS, label), "regression") == []


def test_a_category_that_tells_several_classes_apart_is_found(spark: SparkSession) -> None:
    label = "element_at(array('a', 'b', 'c'), int(id % 3) + 1)"

    assert leaks_of(rows(spark, "rand(1)", "upper(late)", label), "multiclass") == [
        f"level predicts late in 100.00% of the rows{ADVICE}"
    ]


def test_what_the_spec_allows_is_not_told(spark: SparkSession) -> None:
    examples = {**SPEC["examples"], "allow_leakage": ["x"]}

    assert leaks_of(rows(spark, "late", HARMLESS), examples=examples) == []


def test_a_few_rows_show_nothing(spark: SparkSession) -> None:
    assert leaks_of(rows(spark, "late", "string(late)").limit(90)) == []
