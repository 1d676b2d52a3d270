"""Label leakage: features that predict the label almost perfectly alone, mostly as they were recorded after it was known."""

from collections.abc import Iterator, Mapping
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from contract.spec import ModelSpec
from spark_jobs.runtime.spark_api import first_row

ALMOST = 0.999  # share of the rows separated, or of the label's variance explained
OF_MISSES = 0.99  # share of the majority class's errors that the feature avoids
ROWS_PER_LEVEL = 10  # with fewer, a column is an identifier, not a category
ENOUGH = 200_000  # rows
FEWEST = 100  # rows of a class: with fewer, separation may be chance
ACCURACY = 10_000


def sampled(train: DataFrame, rows: int) -> DataFrame:
    """At most about ENOUGH rows, cached, as they are read several times."""
    return (train if rows <= ENOUGH else train.sample(ENOUGH / rows, seed=1)).cache()


def leaks(train: DataFrame, spec: ModelSpec) -> list[str]:
    """One line per leaking feature not in allow_leakage.

    Numeric features are not checked for multiclass, categorical ones not for regression.
    """
    examples = spec.examples
    numeric = [name for name in examples.numeric if name not in examples.allow_leakage]
    categorical = [name for name in examples.categorical if name not in examples.allow_leakage]
    reasons = [
        *(_numeric_leaks(train, spec, numeric) if numeric else ()),
        *(_categorical_leaks(train, spec, categorical) if categorical else ()),
    ]
    return [f"{name} {reason}; if that is intended, name it in examples.allow_leakage" for name, reason in reasons]


def _numeric_leaks(train: DataFrame, spec: ModelSpec, names: list[str]) -> Iterator[tuple[str, str]]:
    if spec.task == "multiclass":
        return
    label = F.col(spec.examples.label)
    statistics_of = _correlation if spec.task == "regression" else _class_statistics
    by_feature = first_row(train.agg(*(statistics_of(F.col(name), label).alias(name) for name in names))).asDict(recursive=True)
    for name, statistics in by_feature.items():
        if min(statistics["rows"]) < FEWEST:
            continue
        if spec.task == "binary" and _separates(statistics):
            yield name, f"separates {spec.examples.label} 0 from 1 in {ALMOST:.1%} of the rows"
        if spec.task == "regression" and (statistics["r"] or 0.0) ** 2 >= ALMOST:
            yield name, f"explains {statistics['r'] ** 2:.2%} of {spec.examples.label}"


def _correlation(feature: Column, label: Column) -> Column:
    return F.struct(F.array(F.count(feature)).alias("rows"), F.corr(feature, label).alias("r"))


def _class_statistics(feature: Column, label: Column) -> Column:
    """By class: row count, the feature's outer quantiles (1 − ALMOST, ALMOST), and the share of nulls."""
    rows = F.array(*(F.count(F.when(label == of, 1)) for of in (0, 1)))
    ends = F.array(*(F.percentile_approx(F.when(label == of, feature), [1 - ALMOST, ALMOST], ACCURACY) for of in (0, 1)))
    missing = F.array(*(F.avg(F.when(label == of, feature.isNull().cast("double"))) for of in (0, 1)))
    return F.struct(rows.alias("rows"), ends.alias("ends"), missing.alias("missing"))


def _separates(statistics: Mapping[str, Any]) -> bool:
    least, most = sorted(statistics["missing"])
    if least <= 1 - ALMOST and most >= ALMOST:
        return True
    if most > 1 - ALMOST or None in statistics["ends"]:
        return False
    (low_0, high_0), (low_1, high_1) = statistics["ends"]
    apart: bool = high_0 < low_1 or high_1 < low_0
    return apart


def _categorical_leaks(train: DataFrame, spec: ModelSpec, names: list[str]) -> Iterator[tuple[str, str]]:
    if spec.task == "regression":
        return
    label = spec.examples.label
    pairs = F.explode(F.array(*(F.struct(F.lit(name).alias("__name"), F.col(name).alias("__level")) for name in names)))
    long_rows = train.select(F.col(label).alias("__label"), pairs.alias("__of")).select("__label", "__of.*")
    by_level = long_rows.groupBy("__name", "__level", "__label").count().groupBy("__name", "__level")
    levels = by_level.agg(F.max("count").alias("right"), F.sum("count").alias("rows"))
    right = levels.groupBy("__name").agg(F.sum("right").alias("right"), F.sum("rows").alias("rows"), F.count("*").alias("levels"))
    commonest = first_row(train.groupBy(F.col(label).alias("__label")).count().agg(F.max("count")))[0]
    for row in right.collect():
        wrong, guessed_wrong = row["rows"] - row["right"], row["rows"] - commonest
        enough = guessed_wrong >= FEWEST and row["rows"] >= ROWS_PER_LEVEL * row["levels"]
        if enough and wrong <= (1 - OF_MISSES) * guessed_wrong:
            yield row["__name"], f"predicts {label} in {row['right'] / row['rows']:.2%} of the rows"
