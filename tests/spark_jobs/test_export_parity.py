"""Parity on rows typed by hand, for a graph whose answers one can work out: p = 1 / (1 + exp(∓x))."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import SparkSession
from pyspark.sql.types import DoubleType, StringType, StructField, StructType

from spark_jobs.export.graph import Graph
from spark_jobs.export.parity import ParityBroken, relative_differences
from spark_jobs.export.scores import Scores, add_outputs
from tests.spark_jobs.export_cases import prove, spec_of

SPEC = spec_of("binary", numeric=["x"], categorical=[])
SCHEMA = StructType(
    [
        StructField("id", StringType()),
        StructField("x", DoubleType()),
        StructField("probability", VectorUDT()),
        StructField("prediction", DoubleType()),
    ]
)


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    graph = Graph()
    graph.input("numeric", TensorProto.DOUBLE, 1)
    raw = graph.add("Mul", "numeric", graph.constant([-1.0, 1.0]))
    (tmp_path / "model.onnx").write_bytes(graph.model(add_outputs(graph, Scores(raw, 2, "Sigmoid"))).SerializeToString())
    about = {"format": 1, "task": "binary", "numeric": ["x"], "categorical": [], "labels": [0, 1], "known": {}}
    (tmp_path / "model.json").write_text(json.dumps(about))
    return tmp_path


def row(name: str, x: float, positive: float, prediction: float) -> tuple:
    return name, x, Vectors.dense([1 - positive, positive]), prediction


GOOD = row("good", 1.0, 1 / (1 + math.exp(-1)), 1.0)


def test_equal_answers_are_proven(spark: SparkSession, onnx: Path):
    scored = spark.createDataFrame([GOOD, row("close", -1.0, 1 / (1 + math.exp(1)) + 1e-10, 0.0)], SCHEMA)

    parity = prove(scored, SPEC, onnx)

    assert (parity.rows, parity.labels_differ) == (2, 0)
    assert parity.largest == pytest.approx(1e-10, rel=1e-3)


def test_a_label_may_differ_only_where_both_classes_are_equally_likely(spark: SparkSession, onnx: Path):
    assert prove(spark.createDataFrame([GOOD, row("tie", 0.0, 0.5, 1.0)], SCHEMA), SPEC, onnx).labels_differ == 1

    flipped = row("flipped", 0.1, 1 / (1 + math.exp(-0.1)), 0.0)
    with pytest.raises(
        ParityBroken, match=r"1 of 2 holdout rows, most for id 'flipped': Spark says .*label 0\), ONNX .*label 1\);"
    ):
        prove(spark.createDataFrame([GOOD, flipped], SCHEMA), SPEC, onnx)


def test_the_worst_row_is_named_with_both_numbers(spark: SparkSession, onnx: Path):
    rows = [GOOD, row("off", 0.0, 0.5 + 1e-8, 1.0), row("further off", 0.0, 0.75, 1.0)]

    with pytest.raises(ParityBroken) as raised:
        prove(spark.createDataFrame(rows, SCHEMA), SPEC, onnx)

    assert str(raised.value) == (
        "model flights: ONNX differs from Spark on 2 of 3 holdout rows, most for id 'further off': "
        "Spark says 0.25 0.75 (label 1), ONNX 0.5 0.5 (label 0); train again, and if it stays, the export of this pipeline is wrong"
    )


def test_not_a_number_is_never_equal(spark: SparkSession, onnx: Path):
    with pytest.raises(ParityBroken, match="id 'null'"):
        prove(spark.createDataFrame([GOOD, row("null", None, 0.5, 0.0)], SCHEMA), SPEC, onnx)


def test_no_rows_prove_nothing(spark: SparkSession, onnx: Path):
    with pytest.raises(ParityBroken, match="no holdout row"):
        prove(spark.createDataFrame([], SCHEMA), SPEC, onnx)


def test_large_numbers_are_compared_by_their_size():
    expected = np.array([[1e12], [1e-12], [math.inf], [math.nan]])
    actual = np.array([[1e12 + 1], [0.0], [math.inf], [math.nan]])

    assert relative_differences(expected, actual).tolist() == [1e-12, 1e-12, math.inf, math.inf]


def test_nobody_is_told_of_the_model(onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Unless telemetry is disabled, ONNX Runtime keeps its state below the home folder."""
    home = tmp_path_factory.mktemp("home")
    environment = {"HOME": str(home), "PATH": "/usr/bin", "PYTHONPATH": os.getcwd()}
    load = f"from pathlib import Path; from spark_jobs.export.runtime import OnnxModel; OnnxModel(Path({str(onnx)!r}))"

    subprocess.run([sys.executable, "-c", load], env=environment, check=True)

    assert list(home.rglob("*")) == []
