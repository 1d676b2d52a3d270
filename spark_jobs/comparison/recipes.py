"""Compares the recipes of challenger and champion where they differ: both are fitted anew on the same walk-forward folds.

It says which recipe is better over time, not which of two fitted versions is better now; it never promotes.
"""

from functools import reduce
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from contract.algorithms import is_xgboost
from contract.comparison import RecipeChange
from contract.documents import FittedIn, RunDocument, Snapshot
from contract.errors import BadData
from contract.spark import Memory
from contract.spec import ModelSpec
from spark_jobs.comparison.holdout import answer_of
from spark_jobs.comparison.reference_models import Incomparable, check_comparable, check_pairs
from spark_jobs.data.dataset import ValidationSplit, build_examples, parts_of
from spark_jobs.data.labels import labels_of, with_label_index
from spark_jobs.runtime.error_translation import bad_data
from spark_jobs.runtime.spark_api import first_row
from spark_jobs.statistics.block_statistics import flat, reduce_by_blocks
from spark_jobs.statistics.blocks import BY_TIME
from spark_jobs.statistics.intervals import metric_result
from spark_jobs.statistics.metrics import measures_of
from spark_jobs.tracking.model_versions import Version
from spark_jobs.training.estimators import fit
from spark_jobs.training.features import FEATURES, fit_features
from spark_jobs.training.matrix import fitted_in, gathered
from spark_jobs.training.walk_forward import end_of, fold_block, walk_forward


def compare_recipes(run: RunDocument, snapshot: Snapshot, challenger: Version, champion: Version) -> RecipeChange | None:
    """None where both versions have the same recipe."""
    changed = changes_of(challenger, champion)
    if not changed:
        return None
    if run.spec.split.folds is None:
        return RecipeChange(changed=changed, why="recipes are compared on walk-forward folds only, and split.folds is not set")
    try:
        check_comparable(run.spec, champion, "champion")
        pairs = _pairs(run, snapshot, challenger, champion)
    except (Incomparable, BadData) as reason:
        return RecipeChange(changed=changed, why=str(reason))
    except (PySparkException, Py4JJavaError) as error:
        return RecipeChange(changed=changed, why=str(bad_data(error)))
    return _change_result(pairs, run, changed)


def changes_of(challenger: Version, champion: Version) -> tuple[str, ...]:
    """Parts of the spec that differ. Parameters chosen by the search are an outcome of the recipe, not a part of it."""
    sides = [
        {
            "sql": version.sql,
            "columns": (sorted(version.spec.examples.numeric), sorted(version.spec.examples.categorical)),
            "features": version.spec.features,
            "algorithm": version.spec.algorithm,
        }
        for version in (challenger, champion)
    ]
    return tuple(part for part in sides[0] if sides[0][part] != sides[1][part])


def _pairs(run: RunDocument, snapshot: Snapshot, challenger: Version, champion: Version) -> DataFrame:
    """One row per validation row of a fold, with both answers. The challenger's fold boundaries are used for both."""
    examples, known = run.spec.examples, parts_of(run.spec, run.as_of)[0]
    spark = SparkSession.active()
    ours, theirs = (
        build_examples(spark, snapshot, version.spec, version.sql).where(known).persist() for version in (challenger, champion)
    )
    until = end_of(ours, run.spec)
    centre = 0.0 if challenger.labels else first_row(ours.agg(F.mean(examples.label)))[0]
    answers, other = (
        reduce(DataFrame.unionByName, [_answers(fold, version, run, centre) for fold in walk_forward(rows, run.spec, until)])
        for rows, version in ((ours, challenger), (theirs, champion))
    )
    other = other.select(
        F.col(examples.id).alias("their_id"), F.col(examples.label).alias("their_label"), F.col("answer").alias("reference")
    )
    answers = answers.withColumn(BY_TIME, fold_block(run.spec, until)).withColumnRenamed("answer", "challenger")
    pairs = answers.join(other, on=F.col(examples.id) == F.col("their_id")).persist()
    check_pairs(pairs, (answers.count(), other.count()), examples.label, "champion")
    return pairs


def _answers(fold: ValidationSplit, version: Version, run: RunDocument, centre: float) -> DataFrame:
    """The fold's validation rows: id, time, label, answer of a model fitted by the version's recipe to the training rows."""
    spec, examples, labels = version.spec, version.spec.examples, labels_of(fold.train, version.spec)
    features = fit_features(fold.train, spec)
    train = features.pipeline.transform(with_label_index(fold.train, spec, labels))
    where = _fitted_in(train, spec, run.platform.spark.driver_matrix)
    gathered_train, seed = gathered(train, examples.label, where), int(run.as_of.timestamp())
    model = fit(spec.algorithm.name, _params(version, features.levels), gathered_train, examples.label, seed)
    retrained = version._replace(pipeline=PipelineModel([*features.pipeline.stages, model]), labels=labels)
    kept = [examples.id, *([examples.time] if examples.time else []), examples.label]
    return retrained.pipeline.transform(fold.validation).select(*kept, answer_of(retrained, centre).alias("answer"))


def _fitted_in(train: DataFrame, spec: ModelSpec, limit: Memory) -> FittedIn:
    if not is_xgboost(spec.algorithm.name):
        return "executors"
    return fitted_in(spec, train.count(), first_row(train)[FEATURES].size, limit)


def _params(version: Version, levels: int) -> dict[str, Any]:
    """The parameters the version was fitted with; `maxBins` is raised where a categorical column has gained levels."""
    bins = version.params.get("maxBins")
    return version.params if bins is None else {**version.params, "maxBins": max(bins, levels)}


def _change_result(pairs: DataFrame, run: RunDocument, changed: tuple[str, ...]) -> RecipeChange:
    spec, gate, label = run.spec, run.spec.gate, run.spec.examples.label
    classes = sorted(row[0] for row in pairs.select(label).distinct().collect()) if spec.task == "multiclass" else None
    statistics = reduce_by_blocks(flat(pairs, BY_TIME), [BY_TIME], measures_of([gate.metric], spec.task, gate, classes))
    result = metric_result(gate.metric, statistics, gate.side, gate.side)
    return RecipeChange(changed=changed, rows=int(statistics[BY_TIME].rows.sum()), result=result)
