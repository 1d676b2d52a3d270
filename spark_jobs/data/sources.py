"""Reads the sources of a spec, cut to the window of one run."""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from contract.errors import BadData
from contract.source import FILES, UNTYPED, Source
from spark_jobs.data.delta import pinned
from spark_jobs.data.readers import open_source, source_path
from spark_jobs.data.schema import check_columns, selected, typed, zoned

DAY = timedelta(days=1)


class Rows(NamedTuple):
    """`version` of the Delta table; None for other formats."""

    frame: DataFrame
    version: int | None = None


def read_sources(spark: SparkSession, root: str, sources: Mapping[str, Source], as_of: datetime) -> dict[str, Rows]:
    """Raises one BadData with the problems of all sources."""
    read, problems = {}, []
    for name, source in sources.items():
        try:
            one = pinned(spark, root, source)
            read[name] = Rows(read_source(spark, root, one, as_of), one.version)
        except BadData as error:
            problems.append(f"source {name}: {error}")
    if problems:
        raise BadData("; ".join(problems))
    return read


def read_source(spark: SparkSession, root: str, source: Source, as_of: datetime) -> DataFrame:
    """Rows of [as_of − window, as_of) with the spec's columns and types; without a window all before `as_of`."""
    path = source_path(root, source)
    rows = selected(open_source(spark, root, source, as_of), path, source)
    check_columns(rows, path, source)
    rows = in_folders(rows, source, as_of)
    if source.format in UNTYPED:
        rows = typed(rows, path, source)
    return zoned(in_window(rows, source, as_of))


def in_window(rows: DataFrame, source: Source, as_of: datetime) -> DataFrame:
    """Compares in the column's own type: Spark pushes only such filters down to files and databases."""
    if source.time_column is None:
        return rows
    when, kind = F.col(source.time_column), rows.schema[source.time_column].dataType
    first = as_of - source.window if source.window else None
    if isinstance(kind, T.TimestampType) and source.kind not in (*FILES, "delta"):
        # A database compares in its session's time zone: a day more at both ends there, the exact window in Spark.
        rows = _between(rows, when, kind, first and first - DAY, as_of + DAY)
        when = F.timestamp_micros(F.unix_micros(when))
    return _between(rows, when, kind, first, as_of)


def _between(rows: DataFrame, when: Column, kind: T.DataType, first: datetime | None, until: datetime) -> DataFrame:
    rows = rows.where(when < _moment(until, kind))
    return rows if first is None else rows.where(when >= _moment(first, kind))


def _moment(moment: datetime, kind: T.DataType) -> Column:
    """The moment in the column's type; for dates the first day that does not begin before it."""
    if isinstance(kind, T.DateType):
        utc = moment.astimezone(UTC)
        return F.lit(utc.date() if utc.time() == time() else utc.date() + DAY)
    return F.lit(moment).cast(kind)


def in_folders(rows: DataFrame, source: Source, as_of: datetime) -> DataFrame:
    """Prunes partitions, as a filter on the time column opens every folder. A day more at both ends: folders may be local days."""
    if source.partition_column is None:
        return rows
    day = F.col(source.partition_column)
    rows = rows.where(day <= F.lit((as_of + DAY).date()))
    return rows if source.window is None else rows.where(day >= F.lit((as_of - source.window - DAY).date()))
