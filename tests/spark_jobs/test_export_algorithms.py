"""Every algorithm and task against Spark itself, over one-hot, indexed and scaled features."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import (
    DecisionTreeClassifier,
    GBTClassifier,
    LogisticRegression,
    RandomForestClassifier,
)
from pyspark.ml.regression import DecisionTreeRegressor, GBTRegressor, LinearRegression, RandomForestRegressor
from pyspark.sql import DataFrame, SparkSession

from contract.spec import Features
from spark_jobs.export import write_model
from spark_jobs.export.parity import ParityBroken
from spark_jobs.export.reading import UnsupportedStage
from spark_jobs.training.features import build_stages
from tests.spark_jobs.export_cases import export, prove, rows_to_score, rows_to_train, spec_of

TREE = {"maxDepth": 3, "maxBins": 16, "seed": 7}
LABELS = {"late": ("binary", [0, 1]), "kind": ("multiclass", ["early", "late", "very late"]), "delay": ("regression", None)}
FEATURES = {
    "one_hot": Features(impute="median"),
    "index": Features(impute="mean", encode="index"),
    "scaled": Features(impute="mode", scale=True),
}
CASES = [
    ("scaled", "late", lambda: LogisticRegression(maxIter=20)),
    ("index", "late", lambda: LogisticRegression(maxIter=5, family="multinomial")),
    ("one_hot", "kind", lambda: LogisticRegression(maxIter=20)),
    ("scaled", "kind", lambda: LogisticRegression(maxIter=20, regParam=0.1, elasticNetParam=1.0)),
    ("scaled", "delay", lambda: LinearRegression(regParam=0.01)),
    ("one_hot", "delay", lambda: LinearRegression(regParam=0.1, fitIntercept=False)),
    ("one_hot", "late", lambda: DecisionTreeClassifier(**TREE)),
    ("index", "kind", lambda: DecisionTreeClassifier(**TREE)),
    ("index", "late", lambda: RandomForestClassifier(numTrees=5, **TREE)),
    ("one_hot", "kind", lambda: RandomForestClassifier(numTrees=5, **TREE)),
    ("index", "late", lambda: GBTClassifier(maxIter=4, **TREE)),
    ("one_hot", "late", lambda: GBTClassifier(maxIter=4, **TREE)),
    ("scaled", "late", lambda: GBTClassifier(maxIter=3, subsamplingRate=0.7, **TREE)),
    ("index", "delay", lambda: DecisionTreeRegressor(**TREE)),
    ("one_hot", "delay", lambda: RandomForestRegressor(numTrees=5, **TREE)),
    ("index", "delay", lambda: GBTRegressor(maxIter=4, **TREE)),
    ("one_hot", "delay", lambda: GBTRegressor(maxIter=3, lossType="absolute", **TREE)),
]


@pytest.fixture(scope="module")
def train(spark: SparkSession) -> DataFrame:
    return rows_to_train(spark)


@pytest.fixture(scope="module")
def unseen(spark: SparkSession) -> DataFrame:
    return rows_to_score(spark)


@pytest.fixture(scope="module")
def features(train: DataFrame) -> dict[str, tuple[PipelineModel, DataFrame]]:
    """Feature stages fitted once for all algorithms, with the training rows they made."""
    fitted = {}
    for name, how in FEATURES.items():
        pipeline = Pipeline(stages=build_stages(spec_of().model_copy(update={"features": how}))).fit(train)
        fitted[name] = pipeline, pipeline.transform(train).cache()
    return fitted


@pytest.mark.parametrize(
    ("kind", "label", "algorithm"), CASES, ids=[f"{number}-{kind}-{label}" for number, (kind, label, _) in enumerate(CASES)]
)
def test_onnx_answers_as_spark_does(features: dict, unseen: DataFrame, tmp_path: Path, kind: str, label: str, algorithm: Callable):
    task, labels = LABELS[label]
    stages, rows = features[kind]
    pipeline = PipelineModel([*stages.stages, algorithm().setLabelCol(label).fit(rows)])
    export(pipeline, spec_of(task), labels, tmp_path)

    parity = prove(pipeline.transform(unseen), spec_of(task), tmp_path / "onnx")

    assert parity.rows == 3000
    assert parity.largest < 1e-12
    assert parity.labels_differ == 0


@pytest.mark.parametrize(("numeric", "categorical"), [((), ("origin", "carrier")), (("wind", "distance"), ())])
def test_features_of_one_kind_only(train: DataFrame, unseen: DataFrame, tmp_path: Path, numeric: tuple, categorical: tuple):
    spec = spec_of(numeric=numeric, categorical=categorical)
    pipeline = Pipeline(stages=[*build_stages(spec), DecisionTreeRegressor(labelCol="delay", **TREE)]).fit(train)
    model = export(pipeline, spec, None, tmp_path)

    assert prove(pipeline.transform(unseen), spec, tmp_path / "onnx").largest < 1e-12
    assert (model.numeric, model.categorical) == (list(numeric), list(categorical))


def test_a_frame_of_one_row_and_trees_without_branches(spark: SparkSession, features: dict, tmp_path: Path):
    stages, rows = features["index"]
    stump = RandomForestClassifier(numTrees=2, minInfoGain=9.0, labelCol="kind", bootstrap=False).fit(rows)
    model = export(PipelineModel([*stages.stages, stump]), spec_of("multiclass"), LABELS["kind"][1], tmp_path)
    counts = [row["count"] for row in rows.groupBy("kind").count().orderBy("kind").collect()]

    answers = model.score({"distance": [None], "wind": [0.0], "always_3": [3.0], "carrier": [None], "origin": [""]})

    assert answers.probability.tolist() == [pytest.approx([count / 600 for count in counts], abs=1e-15)]
    assert answers.prediction.tolist() == [int(np.argmax(counts))]


def test_the_same_model_gives_the_same_bytes(features: dict, tmp_path: Path):
    stages, rows = features["one_hot"]
    pipeline = PipelineModel([*stages.stages, LinearRegression(labelCol="delay").fit(rows)])
    export(pipeline, spec_of(), None, tmp_path)
    write_model(tmp_path / "spark", spec_of(), None, tmp_path / "again")

    for name in ("model.onnx", "model.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "onnx" / name).read_bytes()


def test_a_changed_leaf_breaks_parity(features: dict, unseen: DataFrame, tmp_path: Path):
    stages, rows = features["index"]
    pipeline = PipelineModel([*stages.stages, GBTRegressor(labelCol="delay", maxIter=2, **TREE).fit(rows)])
    export(pipeline, spec_of(), None, tmp_path)
    scored = pipeline.transform(unseen).cache()
    _change_a_leaf(tmp_path / "onnx" / "model.onnx", by=1e-6)

    with pytest.raises(ParityBroken) as raised:
        prove(scored, spec_of(), tmp_path / "onnx")

    match = re.search(r"most for id '(r\d+)': Spark says (\S+), ONNX (\S+);", str(raised.value))
    assert float(match[2]) == scored.where(f"id = '{match[1]}'").first()["prediction"]
    assert float(match[3]) - float(match[2]) == pytest.approx(1e-6, rel=1e-6)


def _change_a_leaf(path: Path, by: float) -> None:
    model = onnx.load(path)
    (ensemble,) = (node for node in model.graph.node if node.op_type == "TreeEnsemble")
    (leaves,) = (attribute for attribute in ensemble.attribute if attribute.name == "leaf_weights")
    values = onnx.numpy_helper.to_array(leaves.t).copy()
    values[0] += by
    leaves.t.CopyFrom(onnx.numpy_helper.from_array(values, leaves.t.name))
    onnx.save(model, path)


def test_a_hundred_trees_export_in_two_seconds(features: dict, unseen: DataFrame, tmp_path: Path):
    stages, rows = features["index"]
    forest = RandomForestClassifier(numTrees=100, maxDepth=5, maxBins=16, labelCol="kind", seed=7).fit(rows)
    pipeline = PipelineModel([*stages.stages, forest])
    pipeline.write().save(str(tmp_path / "spark"))

    started = time.process_time()  # the machine may be busy; what counts is our own work
    write_model(tmp_path / "spark", spec_of("multiclass"), LABELS["kind"][1], tmp_path / "onnx")
    seconds = time.process_time() - started

    assert seconds < 2
    assert prove(pipeline.transform(unseen), spec_of("multiclass"), tmp_path / "onnx").largest < 1e-12


def test_other_thresholds_and_labels_are_refused(features: dict, tmp_path: Path):
    stages, rows = features["one_hot"]
    model = LogisticRegression(maxIter=2, labelCol="late").fit(rows)

    with pytest.raises(UnsupportedStage, match=f"{model.uid}: threshold=0.3 cannot be exported to ONNX; supported: threshold 0.5"):
        export(PipelineModel([*stages.stages, model.copy({model.threshold: 0.3})]), spec_of("binary"), [0, 1], tmp_path)
    with pytest.raises(UnsupportedStage, match="2 classes with 3 labels for task multiclass"):
        export(PipelineModel([*stages.stages, model]), spec_of("multiclass"), ["a", "b", "c"], tmp_path)
    tree = DecisionTreeClassifier(labelCol="late", **TREE).setThresholds([0.3, 0.7]).fit(rows)
    with pytest.raises(UnsupportedStage, match=f"{tree.uid}: thresholds="):
        export(PipelineModel([*stages.stages, tree]), spec_of("binary"), [0, 1], tmp_path)
