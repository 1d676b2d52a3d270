"""XGBoost in Spark: fitted from a collected matrix or by the executors, saved, loaded, and served as ONNX."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark import SparkContext
from pyspark.ml import PipelineModel
from pyspark.ml.feature import OneHotEncoder, VectorAssembler
from pyspark.ml.functions import vector_to_array
from pyspark.ml.regression import DecisionTreeRegressor, LinearRegression
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from contract.errors import BadData, PermanentError
from contract.spec import Algorithm, Features, ModelSpec
from spark_jobs.data.dataset import ValidationSplit
from spark_jobs.data.labels import with_label_index
from spark_jobs.runtime.shared_folder import SharedFolder
from spark_jobs.statistics.point_metrics import scores
from spark_jobs.tracking.model_versions import load_pipeline
from spark_jobs.training import xgboost_models
from spark_jobs.training.boosting import first_trees
from spark_jobs.training.candidates import FitPlan, plans_of
from spark_jobs.training.estimators import fit
from spark_jobs.training.features import fit_features
from spark_jobs.training.importance import importance_of
from spark_jobs.training.matrix import Matrix, collect, fitted_in
from spark_jobs.training.spans import validation_spans
from spark_jobs.training.xgboost_models import EarlyStopping
from tests.spark_jobs.export_cases import export, prove, rows_to_score, rows_to_train, spec_of
from tests.spark_jobs.searches import search

PARAMS = {"n_estimators": 20, "max_depth": 4}
LABELS = {"late": ("binary", [0, 1]), "kind": ("multiclass", [0, 1, 2]), "delay": ("regression", None)}


def spec_for(task: str, **features: Any) -> ModelSpec:
    name = "xgboost_regressor" if task == "regression" else "xgboost_classifier"
    return spec_of(task).model_copy(update={"algorithm": Algorithm(name=name), "features": Features(**features)})


@pytest.fixture(scope="module")
def train(spark: SparkSession) -> DataFrame:
    return rows_to_train(spark)


@pytest.fixture(scope="module")
def unseen(spark: SparkSession) -> DataFrame:
    return rows_to_score(spark)


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


@pytest.mark.parametrize("where", ["driver", "executors"])
@pytest.mark.parametrize("label", LABELS)
def test_onnx_answers_as_the_saved_model_does(prepared: dict, unseen: DataFrame, tmp_path: Path, label: str, where: str):
    spec, stages, rows = prepared[label]
    model = fit(spec.algorithm.name, PARAMS, collect(rows, "label") if where == "driver" else rows, "label", seed=1)
    pipeline = PipelineModel([*stages.stages, model])
    export(pipeline, spec, LABELS[label][1], tmp_path)
    loaded = PipelineModel.load(f"file://{tmp_path}/spark")
    scored, again = (one.transform(unseen).cache() for one in (pipeline, loaded))

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


@pytest.mark.parametrize("where", ["driver", "executors"])
def test_a_value_that_xgboost_refuses_is_told_with_the_parameter(prepared: dict, where: str):
    _, _, rows = prepared["late"]
    with pytest.raises(
        BadData,
        match=r"xgboost_classifier cannot be fitted with subsample=7\.0: value 7 for Parameter subsample exceed bound \[0,1\]",
    ):
        fit("xgboost_classifier", {"subsample": 7.0}, collect(rows, "label") if where == "driver" else rows, "label", seed=1)


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


TIMED = [(str(i), float((i % 10 >= 5) != (i % 7 == 0)), float(i % 10), float(i % 3), i) for i in range(200)]


def searched(search: dict, params: dict, folds: int | None = None) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "name": "late",
            "description": "late?",
            "owner": "ops",
            "sources": {"flights": {"format": "parquet", "path": "flights"}},
            "examples": {"id": "id", "label": "late", "numeric": ["delay", "wind"], "time": "at"},
            "task": "binary",
            "split": {"holdout": "40m", "folds": folds},
            "algorithm": {"name": "xgboost_classifier", "params": params, "search": search},
            "gate": {"metric": "log_loss"},
        }
    )


@pytest.fixture(scope="module")
def timed(spark: SparkSession) -> DataFrame:
    """200 rows, one a minute: late where delay (0 to 9, repeating) is 5 or more, but for every seventh row."""
    frame = spark.createDataFrame(TIMED, "id string, late double, delay double, wind double, minute int")
    frame = frame.withColumn("at", F.expr("timestamp'2026-01-01' + make_dt_interval(0, 0, minute)"))
    return VectorAssembler(inputCols=["delay", "wind"], outputCol="features").transform(frame).cache()


def test_early_stopping_chooses_the_number_of_trees_on_the_validation_rows(timed: DataFrame):
    spec = searched({"early_stopping_rounds": 5, "grid": {"learning_rate": [0.3, 1.0]}}, {"n_estimators": 80})

    candidates = {
        where: {one.params["learning_rate"]: one for one in search(timed, spec, [0, 1], where)} for where in ("driver", "executors")
    }

    for chosen in candidates.values():
        assert 1 <= chosen[1.0].params["n_estimators"] < chosen[0.3].params["n_estimators"] < 75  # large steps are soon too many
    one = candidates["driver"][0.3]
    (split,) = validation_spans(timed, spec)
    scored = {
        number: score_of(
            fit("xgboost_classifier", {**one.params, "n_estimators": number}, collect(split.train, "late"), "late", 1), split, spec
        )
        for number in (one.params["n_estimators"] - 1, one.params["n_estimators"], one.params["n_estimators"] + 1)
    }
    assert min(scored, key=scored.__getitem__) == one.params["n_estimators"]
    assert scored[one.params["n_estimators"]] == pytest.approx(one.score, abs=1e-12)  # surplus trees do not answer


def score_of(model: Any, split: ValidationSplit, spec: ModelSpec) -> float:
    return scores(model.transform(split.validation), spec, [0, 1], ["log_loss"])["log_loss"]


def test_folds_are_stopped_at_the_mean_of_their_lengths(timed: DataFrame):
    spec = searched({"early_stopping_rounds": 5}, {"n_estimators": 60, "learning_rate": 0.3}, folds=2)
    lengths = []
    for split in validation_spans(timed, spec):
        stop = EarlyStopping(5, collect(split.validation, "late"))
        model = fit("xgboost_classifier", spec.algorithm.params, collect(split.train, "late"), "late", 1, stop)
        lengths.append(xgboost_models.best_length(model))

    (candidate,) = search(timed, spec, [0, 1], "driver")

    assert candidate.params["n_estimators"] == round(sum(lengths) / 2)
    assert len(candidate.spans) == 2


def test_lengths_of_a_grid_share_one_fit(timed: DataFrame):
    spec = searched({"grid": {"n_estimators": [20, 5]}}, {"learning_rate": 0.3})

    assert plans_of(spec, levels=0, seed=1) == [FitPlan({"learning_rate": 0.3, "n_estimators": 20}, lengths=(5, 20))]
    assert {one.params["n_estimators"] for one in search(timed, spec, [0, 1], "driver")} == {5, 20}


@pytest.mark.parametrize(
    ("rows", "features", "folds", "limit", "expected"),
    [
        (1_000_000, 16, None, "64m", "driver"),  # 61 MiB
        (1_048_576, 16, None, "64m", "driver"),
        (1_048_577, 16, None, "64m", "executors"),
        (500_000, 16, 2, "64m", "driver"),  # two folds' matrices are held at once
        (500_000, 16, 3, "64m", "executors"),
        (1_000_000, 1000, None, "4g", "driver"),
    ],
)
def test_where_it_is_fitted_follows_from_rows_and_features(rows: int, features: int, folds: int | None, limit: str, expected: str):
    spec = searched({"early_stopping_rounds": 5}, {}, folds)

    assert fitted_in(spec, rows, features, limit) == expected
    spark_s = spec.model_copy(update={"algorithm": Algorithm(name="gbt_classifier")})
    assert fitted_in(spark_s, rows, features, limit) == "executors"


def test_dynamic_allocation_of_the_cluster_is_told(timed: DataFrame, monkeypatch: pytest.MonkeyPatch):
    conf = timed.sparkSession.sparkContext.getConf().set("spark.dynamicAllocation.enabled", "true")
    monkeypatch.setattr(SparkContext, "getConf", lambda self: conf)

    with pytest.raises(
        PermanentError, match=r"this cluster turns dynamic allocation on by default: set spark\.executor\.instances"
    ):
        fit("xgboost_classifier", {}, timed, "late", seed=1)


def test_importance_adds_the_levels_of_a_category_up(prepared: dict):
    spec, stages, rows = prepared["delay"]  # of distance and carrier; of wind only where the origin is LGA
    whole = rows.where(~F.exists(vector_to_array("features"), F.isnan))  # Spark's trees take no NaN
    ours = PipelineModel([*stages.stages, fit("xgboost_regressor", PARAMS, collect(rows, "label"), "label", seed=1)])
    sparks = PipelineModel([*stages.stages, DecisionTreeRegressor(labelCol="label", maxDepth=3).fit(whole)])

    for pipeline in (ours, sparks):
        shares = importance_of(pipeline, spec)
        assert set(list(shares)[:2]) == {"carrier", "distance"}
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        assert set(shares) == {*spec.examples.numeric, *spec.examples.categorical}
        assert sum(shares.values()) == pytest.approx(1)
        assert shares["always_3"] == 0
    assert importance_of(PipelineModel([*stages.stages, LinearRegression(maxIter=1)]), spec) == {}


def test_a_saved_stage_that_would_be_unpickled_is_not_loaded(prepared: dict, tmp_path: Path):
    _, stages, rows = prepared["late"]
    model = fit("xgboost_classifier", {"n_estimators": 1}, collect(rows, "label"), "label", seed=1)
    PipelineModel([*stages.stages, model]).save(f"file://{tmp_path}/saved")
    assert len(load_pipeline(tmp_path / "saved", SharedFolder()).stages) == len(stages.stages) + 1
    (file,) = sorted(tmp_path.glob("saved/stages/*"))[-1].glob("metadata/part-*")
    file.write_text(json.dumps({**json.loads(file.read_text()), "serialized_callbacks": "gASVAAAA"}))

    with pytest.raises(ValueError, match=r"SparkXGBClassifierModel .* holds serialized_callbacks, which would run as code"):
        load_pipeline(tmp_path / "saved", SharedFolder())
