"""A cluster may be moved from Spark 3.5 to 4.0 and back: what was trained on one line is compared on the other."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from tests.spark_jobs.other_line import ANSWERS, CASES, answer, make

ROOT = Path(__file__).parents[2]
OTHER = ROOT / ".venv" / "spark35" / "bin" / "python"
TOLERANCE = 1e-12  # the lines add numbers up in other orders

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not OTHER.exists(), reason="Spark 3.5 is not installed: make test-integration"),
]


@pytest.fixture(scope="module")
def made(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By line, the folder with its pipelines and Spark 3.5's predictions."""
    folders = {line: tmp_path_factory.mktemp(line) for line in ("4.0", "3.5")}
    make(spark, folders["4.0"])
    subprocess.run([OTHER, "-m", "tests.spark_jobs.other_line", *folders.values()], cwd=ROOT, check=True)
    return folders


@pytest.mark.parametrize("line", ["4.0", "3.5"])
def test_what_one_line_trained_answers_the_same_on_both(line: str, spark: SparkSession, made: dict[str, Path]) -> None:
    on_3_5 = json.loads((made[line] / ANSWERS).read_text())
    on_4_0 = answer(spark, made[line])

    assert list(on_4_0) == list(on_3_5) == list(CASES)
    for name in CASES:
        np.testing.assert_allclose(on_4_0[name], on_3_5[name], rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)
