import pytest
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession

from contract.errors import BadData
from contract.spec import ModelSpec
from spark_jobs.data.labels import labels_of, with_label_index
from spark_jobs.training.estimators import fit, with_bins
from spark_jobs.training.features import fit_features

SCHEMA = "id string, late double, delay double, gate string"


def spec_with(algorithm: str = "decision_tree_classifier", task: str = "binary", **features: object) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "name": "late",
            "description": "late?",
            "owner": "ops",
            "sources": {"flights": {"format": "parquet", "path": "flights"}},
            "examples": {"id": "id", "label": "late", "numeric": ["delay"], "categorical": ["gate"]},
            "features": features,
            "task": task,
            "split": {"holdout": 0.2},
            "algorithm": {"name": algorithm},
            "gate": {"metric": "rmse" if task == "regression" else "log_loss"},
        }
    )


def flights(spark: SparkSession, *rows: tuple) -> DataFrame:
    return spark.createDataFrame([(str(number), *row) for number, row in enumerate(rows)], SCHEMA)


def vectors(pipeline: PipelineModel, rows: DataFrame) -> list[list[float]]:
    return [row.features.toArray().tolist() for row in pipeline.transform(rows).orderBy("id").collect()]


def test_a_missing_number_is_imputed_and_levels_are_one_hot_in_their_order_by_name(spark: SparkSession) -> None:
    train = flights(spark, (0.0, 1.0, "b"), (1.0, 3.0, "b"), (1.0, None, "a"))

    pipeline = fit_features(train, spec_with(impute="mean")).pipeline

    assert vectors(pipeline, train) == [[1.0, 0.0, 1.0, 0.0], [3.0, 0.0, 1.0, 0.0], [2.0, 1.0, 0.0, 0.0]]


def test_an_unseen_level_and_a_null_share_the_last_column(spark: SparkSession) -> None:
    pipeline = fit_features(flights(spark, (0.0, 1.0, "a"), (1.0, 1.0, "b")), spec_with()).pipeline

    assert vectors(pipeline, flights(spark, (0.0, 5.0, "never seen"), (0.0, 5.0, None))) == [[5.0, 0.0, 0.0, 1.0]] * 2


def test_index_keeps_one_column_per_category_with_a_last_index_for_unseen(spark: SparkSession) -> None:
    features = fit_features(flights(spark, (0.0, 1.0, "a"), (1.0, 1.0, "b")), spec_with(encode="index"))

    assert vectors(features.pipeline, flights(spark, (0.0, 5.0, "b"), (0.0, 5.0, "c"))) == [[5.0, 1.0], [5.0, 2.0]]
    assert features.levels == 3


def test_scaled_columns_have_a_standard_deviation_of_one(spark: SparkSession) -> None:
    train = flights(spark, (0.0, 1.0, "a"), (1.0, 5.0, "a"), (1.0, 3.0, "a"))  # standard deviation 2

    pipeline = fit_features(train, spec_with(scale=True)).pipeline

    assert [vector[0] for vector in vectors(pipeline, train)] == [0.5, 2.5, 1.5]


@pytest.mark.parametrize(
    ("features", "row", "sentence"),
    [
        ({}, (1.0, None, "b"), "delay is null in all 2 rows"),
        ({"handleInvalid": "error"}, (1.0, 2.0, None), "gate is null in 1 of 2 rows, which handleInvalid: error forbids"),
        ({}, (1.0, 2.0, ""), "gate is an empty string in 1 rows"),
    ],
)
def test_a_column_that_cannot_be_learned_from_is_named(spark: SparkSession, features: dict, row: tuple, sentence: str) -> None:
    with pytest.raises(BadData, match=sentence):
        fit_features(flights(spark, (0.0, None, "a"), row), spec_with(**features))


def test_a_level_count_that_explodes_is_refused_before_it_is_indexed(spark: SparkSession) -> None:
    train = flights(spark, *((float(number % 2), 1.0, f"tail {number}") for number in range(9)))

    with pytest.raises(BadData, match="gate has about 9 levels, more than max_categories 5"):
        fit_features(train, spec_with(max_categories=5))


def test_a_tree_gets_a_bin_for_every_level_and_a_smaller_wish_is_refused() -> None:
    assert with_bins("gbt_classifier", {"maxDepth": 3}, levels=100) == {"maxDepth": 3, "maxBins": 100}
    assert with_bins("gbt_classifier", {}, levels=0) == {"maxBins": 32}
    assert with_bins("logistic_regression", {}, levels=100) == {}
    with pytest.raises(BadData, match="maxBins 64 is below the 100 levels"):
        with_bins("gbt_classifier", {"maxBins": 64}, levels=100)


def test_a_tree_splits_more_levels_than_spark_has_bins_for_by_default(spark: SparkSession) -> None:
    spec = spec_with(encode="index")
    train = flights(spark, *((float(number % 2), 1.0, f"{number % 40:02}") for number in range(80)))
    features = fit_features(train, spec)
    rows = features.pipeline.transform(with_label_index(train, spec, [0, 1]))

    model = fit(spec.algorithm.name, with_bins(spec.algorithm.name, {}, features.levels), rows, "late", seed=1)

    assert model.depth == 1  # one split by category tells odd from even


def test_scaling_an_index_under_a_tree_is_refused(spark: SparkSession) -> None:
    with pytest.raises(BadData, match="remove scale"):
        fit_features(flights(spark, (0.0, 1.0, "a")), spec_with(encode="index", scale=True))


def test_a_value_that_spark_refuses_is_told_with_the_parameter(spark: SparkSession) -> None:
    spec = spec_with()
    train = flights(spark, (0.0, 1.0, "a"), (1.0, 2.0, "b"))
    rows = fit_features(train, spec).pipeline.transform(train)

    with pytest.raises(
        BadData, match=r"decision_tree_classifier cannot be fitted with maxDepth=31: .*maxDepth given invalid value 31"
    ):
        fit(spec.algorithm.name, {"maxDepth": 31}, rows, "late", seed=1)


def test_class_names_become_their_place_in_the_sorted_list(spark: SparkSession) -> None:
    spec = spec_with(task="multiclass")
    train = spark.createDataFrame([("1", "late"), ("2", "early"), ("3", "on time")], "id string, late string")
    labels = labels_of(train, spec)
    other = spark.createDataFrame([("1", "on time"), ("2", "early"), ("3", "diverted")], "id string, late string")

    assert labels == ["early", "late", "on time"]
    assert [row.late for row in with_label_index(other, spec, labels).orderBy("id").collect()] == [2.0, 0.0, -1.0]


def test_training_rows_of_one_class_are_refused(spark: SparkSession) -> None:
    with pytest.raises(BadData, match=r"training rows of late hold only the class 1\.0 of late"):
        labels_of(flights(spark, (1.0, 1.0, "a"), (1.0, 2.0, "b")), spec_with())
