"""Feature stages before the algorithm: impute, index, one-hot, assemble, scale. They do not use the label.

XGBoost gets missing numbers as they are, as NaN.
"""

from math import inf
from typing import Any, NamedTuple

from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.base import Estimator, Transformer
from pyspark.ml.feature import (
    Imputer,
    OneHotEncoder,
    OneHotEncoderModel,
    StandardScaler,
    StringIndexer,
    StringIndexerModel,
    VectorAssembler,
)
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from contract.algorithms import PARAMS, is_xgboost
from contract.errors import BadData
from contract.spec import Features, ModelSpec
from spark_jobs.runtime.spark_api import first_row

FEATURES = "features"
_ASSEMBLED = "features_assembled"


class FittedFeatures(NamedTuple):
    """`levels`: most levels of a categorical column as the algorithm sees it; 0 where none stays categorical."""

    pipeline: PipelineModel
    levels: int


def fit_features(train: DataFrame, spec: ModelSpec) -> FittedFeatures:
    """Raises BadData for a column that cannot be fitted; Spark's own error would not name it."""
    check_features(train, spec)
    pipeline = Pipeline(stages=build_stages(spec)).fit(train)
    return FittedFeatures(pipeline, _levels(pipeline) if spec.features.encode == "index" else 0)


def build_stages(spec: ModelSpec) -> list[Estimator[Any] | Transformer]:
    numeric, categorical, features = spec.examples.numeric, spec.examples.categorical, spec.features
    indexed, encoded = _suffixed(categorical, "indexed"), _suffixed(categorical, "encoded")
    one_hot, keeps_missing = features.encode == "one_hot", is_xgboost(spec.algorithm.name)
    numbers = [*numeric] if keeps_missing else _suffixed(numeric, "imputed")
    made: list[Estimator[Any] | Transformer] = []
    if numeric and not keeps_missing:
        made.append(Imputer(strategy=features.impute, inputCols=[*numeric], outputCols=numbers))
    if categorical:
        made.append(
            StringIndexer(
                inputCols=[*categorical],
                outputCols=indexed,
                handleInvalid=features.handleInvalid,
                stringOrderType="alphabetAsc",  # by name, not by count: a level keeps its index from one retraining to the next
            )
        )
    if categorical and one_hot:
        # keep: null and unseen levels share a column of their own, as they share an index
        made.append(OneHotEncoder(inputCols=indexed, outputCols=encoded, handleInvalid=features.handleInvalid))
    assembled = [*numbers, *(encoded if one_hot else indexed)]
    output = _ASSEMBLED if features.scale else FEATURES
    made.append(VectorAssembler(inputCols=assembled, outputCol=output, handleInvalid="keep" if keeps_missing else "error"))
    if features.scale:
        made.append(StandardScaler(inputCol=_ASSEMBLED, outputCol=FEATURES))  # not centred: sparse vectors stay sparse
    return made


def columns_of(pipeline: PipelineModel, spec: ModelSpec) -> list[str]:
    """The spec's column that each of the assembled features comes from."""
    widths = dict.fromkeys(spec.examples.numeric, 1) | dict.fromkeys(spec.examples.categorical, 1)
    for stage in pipeline.stages:
        if isinstance(stage, OneHotEncoderModel):
            invalid = stage.getHandleInvalid() == "keep"
            sizes = [size + invalid - stage.getDropLast() for size in stage.categorySizes]
            widths |= dict(zip(spec.examples.categorical, sizes, strict=True))
    return [name for name, width in widths.items() for _ in range(width)]


def check_features(train: DataFrame, spec: ModelSpec) -> None:
    """Raises one BadData with the problems of all columns, found in one pass over the rows."""
    examples, features = spec.examples, spec.features
    if features.scale and features.encode == "index" and examples.categorical and "maxBins" in PARAMS[spec.algorithm.name]:
        raise BadData("features: scale with encode: index hides from a tree which columns are categorical; remove scale")
    counts = [
        *(F.count(name).alias(f"filled {name}") for name in (*examples.numeric, *examples.categorical)),
        *(F.approx_count_distinct(name, 0.02).alias(f"levels {name}") for name in examples.categorical),
        *(F.count_if(F.col(name) == "").alias(f"empty {name}") for name in examples.categorical),
    ]
    if is_xgboost(spec.algorithm.name):
        counts += [F.count_if(F.abs(F.col(name).cast("float")) == inf).alias(f"infinite {name}") for name in examples.numeric]
    seen = first_row(train.agg(F.count("*").alias("rows"), *counts)).asDict()
    problems = [
        *_empty_columns(seen, spec),
        *(_infinite_columns(seen, spec) if is_xgboost(spec.algorithm.name) else []),
        *(problem for name in examples.categorical for problem in _level_problems(name, seen, features)),
    ]
    if problems:
        raise BadData(f"the training rows do not fit the spec's features: {'; '.join(problems)}; correct the data or the spec")


def _empty_columns(seen: dict[str, int], spec: ModelSpec) -> list[str]:
    names = (*spec.examples.numeric, *spec.examples.categorical)
    return [f"{name} is null in all {seen['rows']:,} rows" for name in names if seen[f"filled {name}"] == 0]


def _infinite_columns(seen: dict[str, int], spec: ModelSpec) -> list[str]:
    counted = {name: seen[f"infinite {name}"] for name in spec.examples.numeric}
    why = "which XGBoost refuses (its numbers end at 3.4e38)"
    return [f"{name} is infinite in {count:,} of {seen['rows']:,} rows, {why}" for name, count in counted.items() if count]


def _level_problems(name: str, seen: dict[str, int], features: Features) -> list[str]:
    rows, filled, levels, empty = seen["rows"], seen[f"filled {name}"], seen[f"levels {name}"], seen[f"empty {name}"]
    problems = []
    if features.handleInvalid == "error" and 0 < filled < rows:
        problems.append(f"{name} is null in {rows - filled:,} of {rows:,} rows, which handleInvalid: error forbids")
    if levels > features.max_categories:
        problems.append(f"{name} has about {levels:,} levels, more than max_categories {features.max_categories:,}")
    if features.encode == "one_hot" and features.handleInvalid == "error" and levels == 1:
        problems.append(f"{name} has one level, which handleInvalid: error leaves nothing to encode of; drop it, or write keep")
    if features.encode == "one_hot" and empty:
        problems.append(f"{name} is an empty string in {empty:,} rows, which Spark cannot one-hot encode (make it null or name it)")
    return problems


def _suffixed(names: tuple[str, ...], suffix: str) -> list[str]:
    return [f"{name}_{suffix}" for name in names]


def _levels(pipeline: PipelineModel) -> int:
    for stage in pipeline.stages:
        if isinstance(stage, StringIndexerModel):
            unseen = stage.getHandleInvalid() == "keep"
            return max(len(labels) for labels in stage.labelsArray) + unseen
    return 0
