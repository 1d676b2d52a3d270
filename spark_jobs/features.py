"""Stages before the algorithm: impute, index, one-hot, assemble, scale. They look at no label."""

from typing import NamedTuple

from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.base import Estimator, Transformer
from pyspark.ml.feature import Imputer, OneHotEncoder, StandardScaler, StringIndexer, StringIndexerModel, VectorAssembler
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from contract.algorithms import PARAMS
from contract.errors import BadData
from contract.spec import ModelSpec

FEATURES = "features"
_ASSEMBLED = "features_assembled"


class Features(NamedTuple):
    """`levels`: the most levels that one categorical column shows the algorithm; 0 where none stays categorical."""

    pipeline: PipelineModel
    levels: int


def fit_features(train: DataFrame, spec: ModelSpec) -> Features:
    """Raises BadData for a column the stages could not learn from, before Spark fails on it without naming it."""
    check_columns(train, spec)
    pipeline = Pipeline(stages=build_stages(spec)).fit(train)
    return Features(pipeline, _levels(pipeline) if spec.features.encode == "index" else 0)


def build_stages(spec: ModelSpec) -> list[Estimator | Transformer]:
    numeric, categorical, features = spec.examples.numeric, spec.examples.categorical, spec.features
    imputed, indexed, encoded = _suffixed(numeric, "imputed"), _suffixed(categorical, "indexed"), _suffixed(categorical, "encoded")
    one_hot = features.encode == "one_hot"
    made: list[Estimator | Transformer] = []
    if numeric:
        made.append(Imputer(strategy=features.impute, inputCols=[*numeric], outputCols=imputed))
    if categorical:
        made.append(
            StringIndexer(
                inputCols=[*categorical],
                outputCols=indexed,
                handleInvalid=features.handleInvalid,
                stringOrderType="alphabetAsc",  # by name, not by count: a level keeps its place from one retraining to the next
            )
        )
    if categorical and one_hot:
        # keep: null and unseen levels share a column of their own, as they share an index
        made.append(OneHotEncoder(inputCols=indexed, outputCols=encoded, handleInvalid=features.handleInvalid))
    assembled = [*imputed, *(encoded if one_hot else indexed)]
    made.append(VectorAssembler(inputCols=assembled, outputCol=_ASSEMBLED if features.scale else FEATURES))
    if features.scale:
        made.append(StandardScaler(inputCol=_ASSEMBLED, outputCol=FEATURES))  # not centred: sparse vectors stay sparse
    return made


def check_columns(train: DataFrame, spec: ModelSpec) -> None:
    """One pass over the rows; every problem of every column in one sentence."""
    examples, features = spec.examples, spec.features
    if features.scale and features.encode == "index" and examples.categorical and "maxBins" in PARAMS[spec.algorithm.name]:
        raise BadData("features: scale with encode: index hides from a tree which columns are categorical; remove scale")
    counts = [F.count(name).alias(f"filled {name}") for name in (*examples.numeric, *examples.categorical)]
    levels = [F.approx_count_distinct(name, 0.02).alias(f"levels {name}") for name in examples.categorical]
    seen = train.agg(F.count(F.lit(1)).alias("rows"), *counts, *levels).first().asDict()

    found = [f"{name} is null in all {seen['rows']:,} rows" for name in (*examples.numeric, *examples.categorical) if not seen[f"filled {name}"]]
    for name in examples.categorical:
        missing = seen["rows"] - seen[f"filled {name}"]
        if features.handleInvalid == "error" and 0 < missing < seen["rows"]:
            found.append(f"{name} is null in {missing:,} of {seen['rows']:,} rows, which handleInvalid: error forbids")
        if seen[f"levels {name}"] > features.max_categories:
            found.append(f"{name} has about {seen[f'levels {name}']:,} levels, more than max_categories {features.max_categories:,}")
    if found:
        raise BadData(f"the training rows do not fit features: {'; '.join(found)}. Correct the data or the spec's examples and features")


def _suffixed(names: tuple[str, ...], suffix: str) -> list[str]:
    return [f"{name}_{suffix}" for name in names]


def _levels(pipeline: PipelineModel) -> int:
    for stage in pipeline.stages:
        if isinstance(stage, StringIndexerModel):
            unseen = stage.getHandleInvalid() == "keep"
            return max(len(labels) for labels in stage.labelsArray) + unseen
    return 0
