"""Pipelines and their answers, also in a process of another Spark line: `python -m tests.spark_jobs.other_line MADE MAKES`.

It makes its own pipelines in the folder MAKES, and answers by those and by what is in MADE.
"""

import json
import os
import sys
from pathlib import Path

import pyspark
from pyspark.ml import PipelineModel
from pyspark.ml.functions import vector_to_array
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from contract.algorithms import TASKS
from contract.spec import Algorithm, Features
from spark_jobs.data.labels import with_label_index
from spark_jobs.runtime.session import start_session
from spark_jobs.training.estimators import fit
from spark_jobs.training.features import fit_features
from tests.spark_jobs.conftest import SMALL
from tests.spark_jobs.export_cases import rows_to_score, rows_to_train, spec_of

LABELS = {"binary": "late", "regression": "delay"}
CASES = {  # between them each stage, and each layout of a saved model
    "logistic_regression": (Features(scale=True), {"maxIter": 5}),
    "linear_regression": (Features(impute="mean", scale=True), {"maxIter": 5}),
    "decision_tree_regressor": (Features(encode="index"), {"maxDepth": 3}),
    "random_forest_classifier": (Features(encode="index", impute="mode"), {"numTrees": 3}),
    "gbt_classifier": (Features(), {"maxIter": 3}),
    "xgboost_classifier": (Features(), {"n_estimators": 3}),
}
ANSWERS = "answers.json"


def make(spark: SparkSession, folder: Path) -> None:
    for name, (features, params) in CASES.items():
        task = TASKS[name][0]
        spec = spec_of(task).model_copy(update={"features": features, "algorithm": Algorithm(name=name)})
        rows = with_label_index(rows_to_train(spark).withColumnRenamed(LABELS[task], "label"), spec, _classes(name))
        stages = fit_features(rows, spec).pipeline
        model = fit(name, params, stages.transform(rows), "label", seed=1)
        PipelineModel([*stages.stages, model]).save(f"file://{folder}/{name}")


def answer(spark: SparkSession, folder: Path) -> dict[str, list[list[float]]]:
    """Each saved pipeline's predictions on the same rows."""
    rows, answers = rows_to_score(spark, 300), {}
    for name in CASES:
        said = vector_to_array("probability") if _classes(name) else F.array("prediction")
        scored = PipelineModel.load(f"file://{folder}/{name}").transform(rows)
        answers[name] = [row.said for row in scored.orderBy("id").select(said.alias("said")).collect()]
    return answers


def _classes(name: str) -> list[int] | None:
    return [0, 1] if TASKS[name][0] == "binary" else None


if __name__ == "__main__":
    os.environ.update(SPARK_HOME=str(Path(pyspark.__file__).parent), PYSPARK_PYTHON=sys.executable)
    made, makes = map(Path, sys.argv[1:])
    spark = start_session("other line", SMALL)
    make(spark, makes)
    for folder in (made, makes):
        (folder / ANSWERS).write_text(json.dumps(answer(spark, folder)))
    spark.stop()
