"""A cluster may be moved from Spark 3.5 to 4.0 and back: what was trained on one line is compared on the other."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from tests.spark.other_line import ANSWERS, CASES, answer, make

ROOT = Path(__file__).parents[2]
OTHER = ROOT / ".venv" / "spark35" / "bin" / "python"
TOLERANCE = 1e-12  # the lines add numbers up in other orders

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not OTHER.exists(), reason="Spark 3.5 is not installed: make test-integration"),
]


def other_spark(what: str, folder: Path) -> dict[str, list[list[float]]]:
    subprocess.run([OTHER, "-m", "tests.spark.other_line", what, str(folder)], cwd=ROOT, check=True)
    return json.loads((folder / ANSWERS).read_text())


def assert_same(found: dict[str, list[list[float]]], expected: dict[str, list[list[float]]]) -> None:
    assert list(found) == list(expected) == list(CASES)
    for name in CASES:
        np.testing.assert_allclose(found[name], expected[name], rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


def test_what_spark_3_5_trained_answers_the_same_on_spark_4(spark: SparkSession, tmp_path: Path) -> None:
    made = other_spark("make", tmp_path)

    assert_same(answer(spark, tmp_path), made)


def test_what_spark_4_trained_answers_the_same_on_spark_3_5(spark: SparkSession, tmp_path: Path) -> None:
    make(spark, tmp_path)

    assert_same(other_spark("answer", tmp_path), answer(spark, tmp_path))
