"""train: fits the feature stages once, searches, fits the best parameters to all training rows, and registers the version."""

import logging
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from contract import documents
from contract.comparison import Interval
from contract.documents import Candidate, FittedIn, JobRequest, Training, ValidationReport
from contract.errors import BadData
from contract.metrics import MetricName
from contract.spark import Memory
from contract.spec import ModelSpec
from contract.store.base import Store
from spark_jobs.data.dataset import labelled, split
from spark_jobs.data.handover import Handover
from spark_jobs.data.labels import Labels, labels_of, with_label_index
from spark_jobs.export import write_model
from spark_jobs.runtime.spark_api import first_row
from spark_jobs.runtime.stage_timer import StageTimer
from spark_jobs.statistics.point_metrics import scores
from spark_jobs.tracking import artifacts, mlflow_runs
from spark_jobs.tracking.diagnostics import importance, tables_of
from spark_jobs.training.estimators import describe, fit, with_bins
from spark_jobs.training.features import FEATURES, FittedFeatures, fit_features
from spark_jobs.training.importance import importance_of
from spark_jobs.training.matrix import fitted_in, gathered
from spark_jobs.training.search import CandidateSearch
from spark_jobs.training.search_records import SearchStore
from spark_jobs.training.walk_forward import fold_intervals

log = logging.getLogger(__name__)


def run(spark: SparkSession, request: JobRequest, store: Store, handover: Handover | None = None) -> Training:
    """The version that an earlier attempt of this request registered, else a newly trained one: nothing is trained twice."""
    mlflow_runs.connect(request.run.platform.mlflow)
    registered = mlflow_runs.find_training(request.run.model, request.key)
    if registered:
        log.info(f"train: version {registered.version} of {request.run.model} was registered by an earlier attempt")
    return registered or train(spark, request, store, handover or Handover())


def train(spark: SparkSession, request: JobRequest, store: Store, handover: Handover) -> Training:
    frozen, spec, clock = request.run, request.run.spec, StageTimer("train")
    snapshot = documents.read(store, request.inputs["validate"], ValidationReport).snapshot
    rows, holdout = split(labelled(handover.rows(spark, snapshot, spec, frozen.sql), spec), spec, frozen.as_of)
    rows = handover.cached(rows)
    train_rows, train_until = extent(rows, holdout, spec)
    labels = labels_of(rows, spec)
    clock.lap("examples", f"{train_rows:,} rows to train on")
    limit = frozen.platform.spark.driver_matrix
    learned = learn(rows, spec, labels, int(frozen.as_of.timestamp()), limit, SearchStore(store, request.files), clock)
    scored = score(holdout, spec, labels, learned.pipeline)
    holdout_rows = scored.count()
    metrics = scores(scored, spec, labels, spec.gate.measured(spec.task))
    tables = tables_of(scored, spec, labels) | importance(importance_of(learned.pipeline, spec))
    clock.lap("evaluate", f"{holdout_rows:,} rows held out: {', '.join(f'{name} {value:.4f}' for name, value in metrics.items())}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        artifacts.write_inputs(folder, spec, frozen.sql)
        artifacts.write_candidates(folder, learned.candidates, spec.gate.metric)
        artifacts.write_diagnostics(folder, tables)
        clock.lap("record", "wrote tables and charts")
        saved = mlflow_runs.save_model(learned.pipeline, spec, folder, handover.shared)
        clock.lap("save", "saved the pipeline")
        write_model(saved, spec, labels, folder / mlflow_runs.ONNX)
        clock.lap("export", "wrote it as ONNX")
        facts = (metrics, train_rows, holdout_rows, train_until, learned.folds, learned.fitted_in, clock.seconds)
        result = mlflow_runs.Result(learned.params, *facts)
        training = mlflow_runs.log_training(frozen, request.key, snapshot, result, folder)
    scored.unpersist()
    handover.keep_pipeline(training.version, learned.pipeline)
    clock.lap("mlflow", f"registered version {training.version} of {spec.name}: {training.mlflow_url}")
    return training


class TrainedModel(NamedTuple):
    pipeline: PipelineModel
    params: dict[str, Any]
    candidates: tuple[Candidate, ...]
    folds: dict[MetricName, Interval]
    fitted_in: FittedIn


def learn(
    train: DataFrame, spec: ModelSpec, labels: Labels | None, seed: int, limit: Memory, kept: SearchStore, clock: StageTimer
) -> TrainedModel:
    """The feature stages are fitted once and shared by all candidates, as they do not use the label."""
    name, label = spec.algorithm.name, spec.examples.label
    features = fit_features(train, spec)
    rows = prepared(train, spec, labels, features)
    count, width = rows.count(), first_row(rows)[FEATURES].size  # the count fills the cache
    train.unpersist()
    where = fitted_in(spec, count, width, limit)
    clock.lap("features", f"fitted the feature stages and cached {count:,} rows of {width:,} features, for the {where}")
    searched = spec.algorithm.search is not None
    candidates = CandidateSearch(spec, labels, features.levels, seed, where, kept).run(rows) if searched else ()
    params = candidates[0].params if candidates else with_bins(name, spec.algorithm.params, features.levels)
    clock.lap("search", f"{len(candidates)} candidates, taking {describe(params)}")
    model = fit(name, params, gathered(rows, label, where), label, seed)
    clock.lap("fit", f"fitted {name} to all rows")
    folds = fold_intervals(rows, spec, labels, params, seed, where)
    rows.unpersist()
    return TrainedModel(PipelineModel([*features.pipeline.stages, model]), params, candidates, folds, where)


def prepared(train: DataFrame, spec: ModelSpec, labels: Labels | None, features: FittedFeatures) -> DataFrame:
    """The columns that the algorithm and the search's split need, cached."""
    examples = spec.examples
    kept = [examples.id, *([examples.time] if examples.time else []), examples.label, FEATURES]
    return features.pipeline.transform(with_label_index(train, spec, labels)).select(*kept).persist()


def score(holdout: DataFrame, spec: ModelSpec, labels: Labels | None, pipeline: PipelineModel) -> DataFrame:
    answers = ["prediction"] if labels is None else ["prediction", "probability"]
    return pipeline.transform(with_label_index(holdout, spec, labels)).select(spec.examples.label, *answers).persist()


def extent(train: DataFrame, holdout: DataFrame, spec: ModelSpec) -> tuple[int, datetime | None]:
    """Count of training rows and their newest time; BadData where training or holdout has no rows."""
    newest = F.max(spec.examples.time) if spec.examples.time else F.lit(None)
    rows, until = first_row(train.agg(F.count("*"), newest))
    if rows == 0:
        raise BadData(f"{spec.name} has no rows to train on: widen the sources' window, or shorten split.holdout and split.gap")
    if holdout.isEmpty():
        raise BadData(f"{spec.name} has no rows held out, only {rows:,} to train on: do the newest rows lack a label?")
    return rows, until and until.replace(tzinfo=UTC)
