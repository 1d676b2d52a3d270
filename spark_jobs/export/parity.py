"""Proves on holdout rows that the ONNX model gives Spark's predictions."""

from pathlib import Path

import numpy as np
import pandas as pd
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from contract.algorithms import parity_tolerance
from contract.comparison import Parity
from contract.errors import PermanentError
from contract.spec import ModelSpec
from spark_jobs.export.runtime import ModelOutput, OnnxModel

ROWS = 10_000
ROW_HASH = "__row_hash"
BATCH = 2_000


class ParityBroken(PermanentError):
    """The exported model's predictions differ from Spark's: it must not serve."""


def collect_answers(scored: DataFrame, spec: ModelSpec) -> pd.DataFrame:
    """`row_hash`, id, features and Spark's `prediction` (and `probability`), ordered by the id's hash: a retry gives the same."""
    id, numbers = spec.examples.id, ["prediction"]
    if spec.task != "regression":
        scored = scored.withColumn("probability", vector_to_array(F.col("probability")))
        numbers.append("probability")
    columns = dict.fromkeys([id, *spec.examples.numeric, *spec.examples.categorical, *numbers])
    rows: pd.DataFrame = scored.select(F.xxhash64(id).alias(ROW_HASH), *columns).toPandas()
    return rows.sort_values([ROW_HASH, id], ignore_index=True)


def prove(answers: pd.DataFrame, spec: ModelSpec, onnx: Path) -> Parity:
    """The first ROWS of `answers`, the output of collect_answers, are compared.

    Raises ParityBroken where a number is off by more than the algorithm's tolerance, or a label differs and Spark's best classes
    are not tied.
    """
    model = OnnxModel(onnx)
    rows = answers.head(ROWS)
    if rows.empty:
        raise ParityBroken(f"model {spec.name}: there is no holdout row to prove parity on; widen split.holdout")
    tolerance = parity_tolerance(spec.algorithm.name)
    spark, served = _spark_answers(rows), _served_answers(model, rows)

    differences = relative_differences(_numbers(spark), _numbers(served))
    labels_differ, decided = np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
    if spark.probability is not None:
        labels_differ = spark.prediction != served.prediction
        decided = _lead(spark.probability) > 2 * tolerance
    broken = (differences > tolerance) | (labels_differ & decided)
    if broken.any():
        worst = int(np.where(broken, differences, -1.0).argmax())
        name = rows[spec.examples.id].iloc[worst]
        raise ParityBroken(
            f"model {spec.name}: ONNX differs from Spark on {broken.sum():,} of {len(rows):,} holdout rows, most for "
            f"{spec.examples.id} {name!r}: Spark says {_numbers_text(spark, worst)}, ONNX {_numbers_text(served, worst)}; "
            "train again, and if it stays, the export of this pipeline is wrong"
        )
    return Parity(rows=len(rows), largest=float(differences.max()), labels_differ=int(labels_differ.sum()), tolerance=tolerance)


def relative_differences(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Per row the largest |a − b| / max(1, |a|); infinite where either is not a number."""
    with np.errstate(invalid="ignore"):
        differences = np.abs(expected - actual) / np.maximum(1.0, np.abs(expected))
    largest: np.ndarray = np.where(np.isnan(differences), np.inf, differences).max(axis=1)
    return largest


def _spark_answers(rows: pd.DataFrame) -> ModelOutput:
    probability = np.stack(rows["probability"].to_list()) if "probability" in rows else None
    return ModelOutput(rows["prediction"].to_numpy(), probability)


def _served_answers(model: OnnxModel, rows: pd.DataFrame) -> ModelOutput:
    parts = [model.score(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
    probabilities = [part.probability for part in parts if part.probability is not None]
    return ModelOutput(
        np.concatenate([part.prediction for part in parts]), np.concatenate(probabilities) if probabilities else None
    )


def _numbers(answers: ModelOutput) -> np.ndarray:
    """double[N, classes], or double[N, 1] for regression"""
    return answers.prediction[:, np.newaxis] if answers.probability is None else answers.probability


def _lead(probability: np.ndarray) -> np.ndarray:
    """Probability of the best class minus that of the second."""
    ranked = np.sort(probability, axis=1)
    lead: np.ndarray = ranked[:, -1] - ranked[:, -2]
    return lead


def _numbers_text(answers: ModelOutput, row: int) -> str:
    numbers = " ".join(repr(float(number)) for number in _numbers(answers)[row])
    return numbers if answers.probability is None else f"{numbers} (label {int(answers.prediction[row])})"
