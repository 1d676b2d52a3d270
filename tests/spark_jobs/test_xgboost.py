"""XGBoost in Spark: fitted from a collected matrix or by the executors, saved, loaded, and served as ONNX."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml import PipelineModel
from pyspark.ml.feature import OneHotEncoder
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from contract.errors import BadData
from contract.spec import Algorithm, Features, ModelSpec
from spark_jobs.data.labels import with_label_index
from spark_jobs.export.parity import prove
from spark_jobs.training import xgboost_models
from spark_jobs.training.boosting import first_trees
from spark_jobs.training.estimators import fit
from spark_jobs.training.features import fit_features
from spark_jobs.training.matrix import Matrix, collect
from tests.spark_jobs.export_cases import export, rows_to_score, rows_to_train, spec_of

PARAMS = {"n_estimators": 20, "max_depth": 4}
LABELS = {"late": ("binary", [0, 1]), "kind": ("multiclass", [0, 1, 2]), "delay": ("regression", None)}


def spec_for(task: str, **features: Any) -> ModelSpec:
    name = "xgboost_regressor" if task == "regression" else "xgboost_classifier"
    return spec_of(task).model_copy(update={"algorithm": Algorithm(name=name), "features": Features(**features)})


@pytest.fixture(scope="module")
def train(spark: SparkSession) -> DataFrame:
    return rows_to_train(spark)


@pytest.fixture(scope="module")
def prepared(train: DataFrame) -> dict[str, tuple[ModelSpec, PipelineModel, DataFrame]]:
    """By label: its spec, the fitted feature stages, the rows to fit."""
    made = {}
    for label, (task, labels) in LABELS.items():
        spec = spec_for(task)
        rows = train.withColumnRenamed(label, "label") if labels is None else with_label(train, label, labels, spec)
        stages = fit_features(rows, spec).pipeline
        made[label] = spec, stages, stages.transform(rows).select("id", "label", "features").cache()
    return made


def with_label(train: DataFrame, label: str, labels: list[int], spec: ModelSpec) -> DataFrame:
    return with_label_index(train.withColumn("label", F.col(label)), spec, labels)


def trees(model: Any) -> bytes:
    return model.get_booster().save_raw("json")


@pytest.mark.parametrize("fitted_in", ["driver", "executors"])
@pytest.mark.parametrize("label", LABELS)
def test_onnx_answers_as_the_saved_model_does(prepared: dict, spark: SparkSession, tmp_path: Path, label: str, fitted_in: str):
    spec, stages, rows = prepared[label]
    model = fit(spec.algorithm.name, PARAMS, collect(rows, "label") if fitted_in == "driver" else rows, "label", seed=1)
    pipeline = PipelineModel([*stages.stages, model])
    export(pipeline, spec, LABELS[label][1], tmp_path)
    loaded = PipelineModel.load(f"file://{tmp_path}/spark")
    scored, again = (one.transform(rows_to_score(spark)).cache() for one in (pipeline, loaded))

    parity = prove(again, spec, tmp_path / "onnx")

    assert (parity.rows, parity.labels_differ, parity.tolerance) == (3000, 0, 2e-7)
    assert parity.largest < (1e-12 if label == "delay" else 1.2e-7)  # a regression's answer is its margin
    answer = F.col("prediction") if label == "delay" else vector_to_array("probability")
    assert [row[0] for row in scored.select(answer).collect()] == [row[0] for row in again.select(answer).collect()]


def test_missing_numbers_reach_xgboost_as_nan_and_zeros_of_sparse_vectors_as_zeros(prepared: dict, train: DataFrame):
    _, _, rows = prepared["late"]
    missing = train.where("distance is null or isnan(distance)").count()

    matrix = collect(rows, "label")

    assert matrix.features.dtype == np.float32
    assert matrix.features.shape == (
        600,
        3 + 8 + 4,
    )  # three numbers; seven carriers and three origins, each with one more for unseen
    assert np.isnan(matrix.features[:, 0]).sum() == missing > 100
    assert not np.isnan(matrix.features[:, 1:]).any()
    assert matrix.features[:, 3:].sum(axis=1).tolist() == [2.0] * 600


def test_the_trees_are_the_same_whatever_the_threads(prepared: dict, monkeypatch: pytest.MonkeyPatch):
    _, _, rows = prepared["late"]
    matrix, params = collect(rows, "label"), {**PARAMS, "subsample": 0.7, "colsample_bytree": 0.7}
    made = []
    for cores in (1, 2, 3):
        monkeypatch.setattr(xgboost_models, "driver_cores", lambda spark, cores=cores: cores)
        made.append(trees(fit("xgboost_classifier", params, matrix, "label", seed=1)))

    assert made[0] == made[1] == made[2]
    assert made[0] != trees(fit("xgboost_classifier", params, matrix, "label", seed=2))


@pytest.mark.parametrize("label", LABELS)
def test_the_first_rounds_of_a_long_fit_answer_as_the_short_fit(prepared: dict, label: str):
    spec, _, rows = prepared[label]
    matrix = collect(rows, "label")
    long, short = (fit(spec.algorithm.name, {"n_estimators": number}, matrix, "label", seed=1) for number in (9, 4))

    prefix = first_trees(long, 4)

    assert prefix.get_booster().num_boosted_rounds() == 4
    expected = [row[0] for row in short.transform(rows).select("prediction").collect()]
    assert [row[0] for row in prefix.transform(rows).select("prediction").collect()] == expected
    assert [row[0] for row in long.transform(rows).select("prediction").collect()] != expected or label == "late"


def test_a_class_without_rows_keeps_its_place():
    rows = Matrix(np.arange(6, dtype=np.float32).reshape(6, 1), np.array([0.0, 2.0] * 3))

    assert xgboost_models.objective_of(rows) == {"objective": "multi:softprob", "num_class": 3}


@pytest.mark.parametrize("fitted_in", ["driver", "executors"])
def test_a_value_that_xgboost_refuses_is_told_with_the_parameter(prepared: dict, fitted_in: str):
    _, _, rows = prepared["late"]
    with pytest.raises(
        BadData,
        match=r"xgboost_classifier cannot be fitted with subsample=7\.0: value 7 for Parameter subsample exceed bound \[0,1\]",
    ):
        fit("xgboost_classifier", {"subsample": 7.0}, collect(rows, "label") if fitted_in == "driver" else rows, "label", seed=1)


@pytest.mark.parametrize("number", ["double('inf')", "double('-inf')", "1e39"])
def test_a_number_beyond_single_precision_is_told_with_its_column(train: DataFrame, number: str):
    rows = train.withColumn("label", F.col("late")).withColumn("wind", F.expr(f"if(id = 'r7', {number}, wind)"))

    with pytest.raises(BadData, match=r"wind is infinite in 1 of 600 rows, which XGBoost refuses"):
        fit_features(rows, spec_for("binary"))


def test_a_category_with_one_level_is_told_where_nothing_is_left_to_encode(train: DataFrame):
    rows = train.na.fill("JFK", ["carrier", "origin"]).withColumns({"label": F.col("late"), "origin": F.lit("JFK")})

    with pytest.raises(BadData, match="origin has one level, which handleInvalid: error leaves nothing to encode of"):
        fit_features(rows, spec_for("binary", handleInvalid="error"))
    kept = fit_features(rows, spec_for("binary")).pipeline
    (encoder,) = (stage for stage in kept.stages if stage.uid.startswith(OneHotEncoder.__name__))
    assert encoder.categorySizes == [9, 2]  # eight carriers and one origin, and one more for unseen levels
