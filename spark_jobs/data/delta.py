"""Pins the version of a Delta table before its first row is read, so that a run reads one version only."""

from py4j.java_gateway import JavaPackage
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from contract.errors import BadData
from contract.source import Source
from spark_jobs.data.readers import missing_connector, read_error, source_path
from spark_jobs.runtime.spark_api import first_row, jvm


def pinned(spark: SparkSession, root: str, source: Source) -> Source:
    """The source with its Delta version set: the spec's, the newest at its timestamp, or the newest. Other kinds are unchanged."""
    if source.kind != "delta" or source.version is not None:
        return source
    history = _history(spark, root, source)
    if source.timestamp is not None:
        history = history.where(F.col("timestamp") <= F.lit(source.timestamp))
    version = first_row(history.agg(F.max("version")))[0]
    if version is None:
        path, time = source_path(root, source), f"{source.timestamp:%Y-%m-%d %H:%M:%S %Z}"
        raise BadData(f"{path} has no version as old as timestamp {time}, or it was vacuumed; name a later one")
    return source.model_copy(update={"version": version, "timestamp": None})


def _history(spark: SparkSession, root: str, source: Source) -> DataFrame:
    tables = jvm().io.delta.tables.DeltaTable
    if isinstance(tables, JavaPackage):
        raise BadData(missing_connector(spark, source))
    path = source_path(root, source)
    try:
        table = tables.forName(spark._jsparkSession, source.table) if source.table else tables.forPath(spark._jsparkSession, path)
        return DataFrame(table.history(), spark)
    except Exception as error:
        raise read_error(spark, error, path, source) from None
