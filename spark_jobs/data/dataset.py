"""The dataset: rows for training and holdout, made from a snapshot by the spec's feature SQL."""

from datetime import datetime, timedelta
from typing import NamedTuple

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from contract.documents import Snapshot
from contract.errors import BadData
from contract.spec import ModelSpec

NUMBERS = (T.NumericType, T.BooleanType)
LEVELS = (T.StringType, T.IntegralType, T.BooleanType)  # no fractions: writers format 0.1 differently
TIMES = (T.TimestampType,)
BUCKETS = 1_000_000


class DatasetSplit(NamedTuple):
    train: DataFrame
    holdout: DataFrame


class ValidationSplit(NamedTuple):
    """Of rows before the holdout: candidates are fitted on one part and scored on the other."""

    train: DataFrame
    validation: DataFrame


class TimeSplit(NamedTuple):
    """A holdout at the end of the window: the time column, and how long the holdout is."""

    time: str
    holdout: timedelta


def build_examples(spark: SparkSession, snapshot: Snapshot, spec: ModelSpec, sql: str | None) -> DataFrame:
    """The rows of `build_rows` that have a label."""
    return labelled(build_rows(spark, snapshot, spec, sql), spec)


def labelled(rows: DataFrame, spec: ModelSpec) -> DataFrame:
    return rows.where(F.col(spec.examples.label).isNotNull())


def build_rows(spark: SparkSession, snapshot: Snapshot, spec: ModelSpec, sql: str | None) -> DataFrame:
    """Columns: id string, time timestamp (if any), label, numeric double (NaN is null), categorical string,
    and what else the gate needs, as strings.

    The label is a double 0 or 1 (binary), a double (regression), a string (multiclass), or null.
    Raises BadData naming every column that is missing or of a wrong type.
    """
    rows = _query(spark, snapshot, spec, sql)
    problems = column_problems(rows.schema, spec)
    if problems:
        origin = spec.examples.sql or "the source"
        raise BadData(f"the examples of {spec.name} do not fit its spec: {'; '.join(problems)}; fix {origin} or the spec")
    return rows.select(*_columns(spec, rows.schema))


def column_problems(schema: T.StructType, spec: ModelSpec) -> list[str]:
    """One line for each column that is missing or of a wrong type."""
    types = {field.name: field.dataType for field in schema}
    problems = []
    for name, (kinds, expected) in _expected_types(spec).items():
        if name not in types:
            problems.append(f"{name} is missing (there are: {', '.join(sorted(types))})")
        elif not isinstance(types[name], kinds):
            problems.append(f"{name} is {types[name].simpleString()}, not {expected}")
    return problems


def split(examples: DataFrame, spec: ModelSpec, as_of: datetime) -> DatasetSplit:
    return DatasetSplit(*(examples.where(part) for part in parts_of(spec, as_of)))


def parts_of(spec: ModelSpec, as_of: datetime) -> tuple[Column, Column]:
    """Boolean columns (training row, holdout row): the holdout is the window's end, or a share of the ids."""
    holdout, timed = spec.split.holdout, time_split_of(spec)
    if timed:
        return parts_by_time(timed.time, spec.labels_until(as_of), timed.holdout, spec.split.gap)
    if isinstance(holdout, timedelta):
        raise ValueError(f"{spec.name} has a holdout by time and no examples.time")
    return parts_by_hash(spec.examples.id, spec.name, holdout)


def time_split_of(spec: ModelSpec) -> TimeSplit | None:
    """None for a holdout by hash of the ids, which a spec has exactly where its examples have no time."""
    time, holdout = spec.examples.time, spec.split.holdout
    return TimeSplit(time, holdout) if time is not None and isinstance(holdout, timedelta) else None


def parts_by_time(time: str, until: datetime, holdout: timedelta, gap: timedelta = timedelta(0)) -> tuple[Column, Column]:
    """Holdout: [until − holdout, until); training rows end `gap` before it. `until` must have a time zone."""
    first, when = until - holdout, F.col(time)
    return when < F.lit(first - gap), (when >= F.lit(first)) & (when < F.lit(until))


def parts_by_hash(id: str, salt: str, share: float) -> tuple[Column, Column]:
    """An id stays on its side while the salt stays: salting by date would move training rows into the holdout."""
    bucket = F.pmod(F.xxhash64(F.lit(salt), F.col(id)), F.lit(BUCKETS))
    held_out = bucket < F.lit(round(share * BUCKETS))
    return ~held_out, held_out


def split_by_time(
    examples: DataFrame, time: str, until: datetime, holdout: timedelta, gap: timedelta = timedelta(0)
) -> ValidationSplit:
    return ValidationSplit(*(examples.where(part) for part in parts_by_time(time, until, holdout, gap)))


def split_by_hash(examples: DataFrame, id: str, salt: str, share: float) -> ValidationSplit:
    return ValidationSplit(*(examples.where(part) for part in parts_by_hash(id, salt, share)))


def _query(spark: SparkSession, snapshot: Snapshot, spec: ModelSpec, sql: str | None) -> DataFrame:
    absent = sorted(set(spec.sources) - set(snapshot.rows))
    if absent:
        raise BadData(f"the snapshot {snapshot.uri} has no source {', '.join(absent)} (it has: {', '.join(sorted(snapshot.rows))})")
    session = spark.newSession()  # temporary views of one model must not be visible to another's query
    for name in spec.sources:
        session.read.parquet(f"{snapshot.uri}/{name}").createOrReplaceTempView(name)
    if sql is None:
        return session.table(next(iter(spec.sources)))
    try:
        return session.sql(sql)
    except AnalysisException as error:
        reason = str(error).strip().partition("\n")[0]
        raise BadData(f"{spec.examples.sql or 'the SQL'} does not fit the sources: {reason}; fix it, or the source") from None


def _expected_types(spec: ModelSpec) -> dict[str, tuple[tuple[type[T.DataType], ...], str]]:
    examples = spec.examples
    number, level = (NUMBERS, "a number or boolean"), (LEVELS, "a string, whole number or boolean")
    return {
        examples.id: ((T.DataType,), "anything"),
        **({examples.time: (TIMES, "a timestamp")} if examples.time else {}),
        examples.label: level if spec.task == "multiclass" else number,
        **dict.fromkeys(examples.numeric, number),
        **dict.fromkeys((*examples.categorical, *kept_columns(spec)), level),
    }


def _columns(spec: ModelSpec, schema: T.StructType) -> list[Column]:
    examples = spec.examples
    text = [examples.id, *examples.categorical, *kept_columns(spec)]
    numbers = list(examples.numeric)
    (text if spec.task == "multiclass" else numbers).append(examples.label)
    casts = {**{name: _number(name) for name in numbers}, **{name: F.col(name).cast("string").alias(name) for name in text}}
    order = [examples.id, *([examples.time] if examples.time else []), examples.label, *examples.numeric, *examples.categorical]
    order += kept_columns(spec)
    return [casts.get(name, F.col(name)) for name in order]


def kept_columns(spec: ModelSpec) -> list[str]:
    """Columns that the gate needs and that are not in the examples otherwise (cluster, slices); cast to strings."""
    examples = spec.examples
    known = {examples.id, examples.time, examples.label, *examples.numeric, *examples.categorical}
    return [name for name in spec.gate.columns if name not in known]


def _number(name: str) -> Column:
    value = F.col(name).cast("double")
    return F.when(~F.isnan(value), value).alias(name)
