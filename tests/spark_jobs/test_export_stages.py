"""Every feature stage against Spark's own vectors, number by number; stages without an exact form are refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import (
    Bucketizer,
    Imputer,
    OneHotEncoder,
    StandardScaler,
    StringIndexer,
    StringIndexerModel,
    VectorAssembler,
)
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.export import write_model
from spark_jobs.export.graph import NULL, Graph
from spark_jobs.export.reading import UnsupportedStage, read_pipeline
from spark_jobs.export.runtime import feed_of
from spark_jobs.export.stages import FEATURES, ColumnSlots
from tests.spark_jobs.export_cases import CARRIERS, CATEGORICAL, NUMERIC, ORIGINS, rows_to_score, rows_to_train, spec_of

IMPUTED, INDEXED = ["distance_i", "wind_i", "always_3_i"], ["carrier_x", "origin_x"]


def impute(strategy: str = "median", suffix: str = "i") -> Imputer:
    return Imputer(inputCols=[*NUMERIC], outputCols=[f"{name}_{suffix}" for name in NUMERIC], strategy=strategy)


def index(invalid: str = "keep") -> StringIndexer:
    return StringIndexer(inputCols=[*CATEGORICAL], outputCols=INDEXED, handleInvalid=invalid)


def one_hot(invalid: str, drop_last: bool, suffix: str) -> OneHotEncoder:
    encoded = [f"{name}_{suffix}" for name in CATEGORICAL]
    return OneHotEncoder(inputCols=INDEXED, outputCols=encoded, handleInvalid=invalid, dropLast=drop_last)


def assemble(*names: str, invalid: str = "error", to: str = "features") -> VectorAssembler:
    return VectorAssembler(inputCols=[*names], outputCol=to, handleInvalid=invalid)


def scale(mean: bool, std: bool, to: str) -> StandardScaler:
    return StandardScaler(inputCol="assembled", outputCol=to, withMean=mean, withStd=std)


PIPELINES: dict[str, Callable[[], list]] = {  # made in the test: a stage needs the JVM
    "every imputing": lambda: [
        impute("mean", "mean"),
        impute("median", "median"),
        impute("mode", "mode"),
        Imputer(inputCol="distance", outputCol="alone"),
        assemble("wind", "alone", *(f"{name}_{how}" for how in ("mode", "mean", "median") for name in reversed(NUMERIC))),
    ],
    "numbers may be NaN": lambda: [assemble(*NUMERIC, invalid="keep")],
    "indexes only": lambda: [index(), assemble(*reversed(INDEXED))],
    "every one-hot": lambda: [
        impute(),
        index(),
        one_hot("keep", True, "a"),
        one_hot("keep", False, "b"),
        one_hot("error", True, "c"),
        one_hot("error", False, "d"),
        assemble("wind_i", *(f"{name}_{letter}" for letter in "abcd" for name in CATEGORICAL), "distance_i", "origin_x"),
    ],
    "every scaling": lambda: [
        impute(),
        index(),
        one_hot("keep", False, "a"),
        assemble(*IMPUTED, "origin_a", "carrier_a", to="assembled"),
        scale(mean=True, std=False, to="centred"),
        scale(mean=False, std=True, to="scaled"),
        scale(mean=True, std=True, to="both"),
        scale(mean=False, std=False, to="neither"),
        assemble("neither", "both", "centred", "carrier_x", "scaled"),
    ],
}


@pytest.fixture(scope="module")
def train(spark: SparkSession) -> DataFrame:
    return rows_to_train(spark)


@pytest.fixture(scope="module")
def unseen(spark: SparkSession) -> DataFrame:
    return rows_to_score(spark)


def vectors(columns: ColumnSlots, frame: DataFrame) -> np.ndarray:
    """The exported `features` of every row, refused rows as NaN."""
    graph = columns.graph
    width = len(columns.slots["features"])
    graph.add("Identity", graph.guarded(graph.dense(columns.slots["features"])), name="features")
    model = graph.model({"features": (TensorProto.DOUBLE, ["N", width])})
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feed = feed_of(frame.toPandas(), NUMERIC, CATEGORICAL)
    return session.run(None, {one.name: feed[one.name] for one in session.get_inputs()})[0]


def exported(pipeline: PipelineModel, folder: Path) -> ColumnSlots:
    pipeline.write().overwrite().save(str(folder))
    columns = ColumnSlots(Graph(), NUMERIC, CATEGORICAL)
    for stage in read_pipeline(folder):
        FEATURES[stage.kind](stage, columns)
    return columns


@pytest.mark.parametrize("stages", PIPELINES.values(), ids=PIPELINES)
def test_features_are_sparks_own_numbers(train: DataFrame, unseen: DataFrame, tmp_path: Path, stages: Callable[[], list]):
    pipeline = Pipeline(stages=stages()).fit(train)
    expected = pipeline.transform(unseen).select(vector_to_array("features").alias("it")).toPandas()["it"]

    actual = vectors(exported(pipeline, tmp_path), unseen)

    np.testing.assert_array_equal(actual, np.stack(expected.to_list()))


def test_a_row_that_spark_throws_on_is_not_a_number(spark: SparkSession, train: DataFrame, tmp_path: Path):
    refusing = Pipeline(stages=[index("error"), assemble("wind", "carrier_x", "origin_x")]).fit(train.dropna())
    rows = [
        ("1", "AA", "JFK", 0.5),
        ("2", "BB", "JFK", 0.5),
        ("3", None, "JFK", 0.5),
        ("4", "AA", "", 0.5),
        ("5", "AA", "JFK", None),
    ]
    frame = spark.createDataFrame(rows, "id string, carrier string, origin string, wind double")
    for name in ("distance", "always_3"):
        frame = frame.selectExpr("*", f"0D as {name}")

    columns = exported(refusing, tmp_path)

    assert np.isnan(vectors(columns, frame)).all(axis=1).tolist() == [False, True, True, True, True]
    known = {name: sorted(levels) for name, levels in columns.known.items()}
    assert known == {"carrier": sorted(CARRIERS), "origin": sorted(ORIGINS)}


def test_a_thousand_levels_are_looked_up_one_by_one(spark: SparkSession, tmp_path: Path):
    levels = [f"level {number}" for number in range(1000)]
    pipeline = PipelineModel(
        [
            StringIndexerModel.from_labels(levels, "carrier", "carrier_x", "keep"),
            StringIndexerModel.from_labels([""], "origin", "origin_x", "keep"),
            assemble(*INDEXED),
        ]
    )
    names = [*levels, None, "", "level 1000"]
    frame = spark.createDataFrame([(name, name) for name in names], "carrier string, origin string")
    for name in NUMERIC:
        frame = frame.selectExpr("*", f"0D as {name}")

    actual = vectors(exported(pipeline, tmp_path), frame)

    assert actual[:, 0].tolist() == [*map(float, range(1000)), 1000.0, 1000.0, 1000.0]
    assert actual[:, 1].tolist() == [*[1.0] * 1001, 0.0, 1.0]  # "" is a level of origin; null is not


REFUSED: dict[str, tuple[Callable[[], list], int, str]] = {  # stages, which of them is at fault, why
    "unknown": (lambda: [Bucketizer(splits=[-9.0, 0.0, 9.0], inputCol="always_3", outputCol="bucket")], 0, "this stage here"),
    "skip": (lambda: [assemble("wind", invalid="skip")], 0, "handleInvalid=skip"),
    "not a feature": (lambda: [assemble("late")], 0, "input late"),
    "no algorithm": (lambda: [assemble("wind")], 1, "this stage here"),
    "missingValue": (lambda: [Imputer(inputCol="wind", outputCol="filled", missingValue=-1.0)], 0, "missingValue=-1.0"),
    "a number one-hot": (lambda: [OneHotEncoder(inputCol="always_3", outputCol="hot")], 0, "input always_3 with None levels"),
    "numbers as strings": (lambda: [StringIndexer(inputCol="wind", outputCol="wind_x")], 0, "input wind"),
}


@pytest.mark.parametrize(("stages", "at_fault", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_exact_form_is_refused_by_name(
    train: DataFrame, tmp_path: Path, stages: Callable[[], list], at_fault: int, problem: str
):
    pipeline = Pipeline(stages=[*stages(), assemble("always_3", to="unused")]).fit(train)
    pipeline.write().save(str(tmp_path / "spark"))
    stage = pipeline.stages[at_fault]

    with pytest.raises(UnsupportedStage) as raised:
        write_model(tmp_path / "spark", spec_of(), None, tmp_path / "onnx")

    assert str(raised.value).startswith(f"{type(stage).__name__} {stage.uid}: {problem}")
    assert " cannot be exported to ONNX; supported: " in str(raised.value)
    assert not (tmp_path / "onnx").exists()


def test_a_level_that_would_be_mistaken_for_null_is_refused(spark: SparkSession, tmp_path: Path):
    indexer = StringIndexerModel.from_arrays_of_labels([["AA", NULL], ["JFK"]], [*CATEGORICAL], INDEXED, "keep")

    with pytest.raises(UnsupportedStage, match="which stands for null"):
        exported(PipelineModel([indexer, assemble(*INDEXED)]), tmp_path)
