"""Shared by the export tests: a spec of given columns, seeded rows with edge cases, and a saved pipeline as ONNX."""

import random
from collections.abc import Sequence
from pathlib import Path

from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession

from contract.algorithms import TASKS
from contract.comparison import Parity
from contract.gate import Gate
from contract.metrics import METRICS, Task
from contract.spec import Algorithm, Examples, ModelSpec, Source, Split
from spark_jobs.export import Labels, parity, write_model
from spark_jobs.export.runtime import OnnxModel

NUMERIC = ("distance", "wind", "always_3")
CATEGORICAL = ("carrier", "origin")
CARRIERS = ["AA", "A,A", "ü", "飛行機", "None", "nan", " AA"]
ORIGINS = ["JFK", "LGA", "EWR"]
SCHEMA = (
    "id string, distance double, wind double, always_3 double, carrier string, origin string, "
    "late double, kind double, delay double"
)


def prove(scored: DataFrame, spec: ModelSpec, onnx: Path) -> Parity:
    """As the compare job does, of what Spark has scored."""
    return parity.prove(parity.collect_answers(scored, spec), spec, onnx)


def spec_of(
    task: Task = "regression",
    numeric: Sequence[str] = NUMERIC,
    categorical: Sequence[str] = CATEGORICAL,
) -> ModelSpec:
    return ModelSpec(
        name="flights",
        description="typed by a test",
        owner="tests",
        sources={"flights": Source(format="parquet", path="flights")},
        examples=Examples(id="id", label="label", numeric=tuple(numeric), categorical=tuple(categorical)),
        task=task,
        split=Split(holdout=0.2),
        algorithm=Algorithm(name=next(name for name, tasks in TASKS.items() if task in tasks)),
        gate=Gate(metric=METRICS[task][0]),
    )


def rows_to_train(spark: SparkSession, count: int = 600) -> DataFrame:
    """Nulls and NaN among the numbers, null strings, commas and scripts among the levels; labels depend on both kinds of column."""
    return spark.createDataFrame(_rows(count, CARRIERS, seed=1), SCHEMA).coalesce(1).cache()


def rows_to_score(spark: SparkSession, count: int = 3000) -> DataFrame:
    """As in training, plus unseen levels, empty strings and numbers out of range."""
    return spark.createDataFrame(_rows(count, [*CARRIERS, "", "unseen", "aa", "A"], seed=2, spread=5.0), SCHEMA).coalesce(1).cache()


def _rows(count: int, carriers: list[str], seed: int, spread: float = 1.0) -> list[tuple]:
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        distance, wind = chance.gauss(0, spread), chance.gauss(0, spread)
        carrier, origin = chance.choice([*carriers, None]), chance.choice([*ORIGINS, None])
        delay = distance + 2 * (carrier in ("AA", "ü", None)) - (origin == "LGA") * wind + chance.gauss(0, 0.3)
        shown = chance.choice([distance, distance, distance, None, float("nan")])
        rows.append((f"r{number}", shown, wind, 3.0, carrier, origin, float(delay > 0.5), float((delay > 0) + (delay > 1)), delay))
    return rows


def export(pipeline: PipelineModel, spec: ModelSpec, labels: Labels | None, folder: Path) -> OnnxModel:
    pipeline.write().overwrite().save(str(folder / "spark"))
    write_model(folder / "spark", spec, labels, folder / "onnx")
    return OnnxModel(folder / "onnx")
