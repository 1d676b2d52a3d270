"""Converts a saved PipelineModel to ONNX, in the precision and order of operations of what it was fitted by: double for Spark,
single for XGBoost's trees. Unknown stages are refused.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from contract.metrics import Task
from contract.spec import ModelSpec
from spark_jobs.export.graph import Graph
from spark_jobs.export.linear import linear_regression, logistic_regression
from spark_jobs.export.reading import Stage, UnsupportedStage, read_pipeline
from spark_jobs.export.scores import Scores, add_outputs
from spark_jobs.export.stages import FEATURES, ColumnSlots, Slots
from spark_jobs.export.trees import boosted_classifier, boosted_regressor, mean_regressor, vote_classifier
from spark_jobs.export.xgboost_trees import xgboost_classifier, xgboost_regressor

FORMAT = 1
Convert = TypeVar("Convert")
Labels = list[str] | list[int]

ALGORITHMS: dict[str, Callable[[Stage, Graph, Slots], Scores]] = {
    "LogisticRegressionModel": logistic_regression,
    "LinearRegressionModel": linear_regression,
    "DecisionTreeClassificationModel": vote_classifier,
    "RandomForestClassificationModel": vote_classifier,
    "GBTClassificationModel": boosted_classifier,
    "DecisionTreeRegressionModel": mean_regressor,
    "RandomForestRegressionModel": mean_regressor,
    "GBTRegressionModel": boosted_regressor,
    "SparkXGBClassifierModel": xgboost_classifier,
    "SparkXGBRegressorModel": xgboost_regressor,
}


def write_model(pipeline: Path, spec: ModelSpec, labels: Labels | None, folder: Path) -> None:
    """Writes model.onnx and model.json; equal input gives equal bytes. Raises UnsupportedStage before it writes anything."""
    *features, algorithm = read_pipeline(pipeline)
    graph = Graph()
    columns = ColumnSlots(graph, spec.examples.numeric, spec.examples.categorical)
    for stage in features:
        _converter(stage, FEATURES)(stage, columns)

    scores = _converter(algorithm, ALGORITHMS)(algorithm, graph, _vector(algorithm, columns))
    _check_classes(algorithm, spec.task, scores.classes, labels)

    model = graph.model(add_outputs(graph, scores))
    metadata = {
        "format": FORMAT,
        "task": spec.task,
        "numeric": list(spec.examples.numeric),
        "categorical": list(spec.examples.categorical),
        "labels": labels,
        "known": columns.known,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    (folder / "model.json").write_text(json.dumps(metadata, ensure_ascii=False, indent=1) + "\n")


def _converter(stage: Stage, known: dict[str, Convert]) -> Convert:
    if stage.kind not in known:
        raise UnsupportedStage(stage, "this stage here", ", ".join(known))
    return known[stage.kind]


def _vector(algorithm: Stage, columns: ColumnSlots) -> Slots:
    slots = columns.of(algorithm, algorithm.params["featuresCol"])
    trained_on = algorithm.extra.get("numFeatures", len(slots))
    if not slots or trained_on != len(slots):
        raise UnsupportedStage(algorithm, f"{trained_on} features where the stages before it make {len(slots)}", "equal numbers")
    return slots


def _check_classes(algorithm: Stage, task: Task, classes: int, labels: Labels | None) -> None:
    if classes != len(labels or []):
        problem = f"{classes} classes with {len(labels or [])} labels for task {task}"
        raise UnsupportedStage(algorithm, problem, "as many labels as classes, none for regression")
