"""Opens a source in its format, and turns Spark's errors into messages that say what to change."""

import re
from datetime import datetime

from pyspark.errors import AnalysisException
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F

from contract.errors import BadData
from contract.source import Source
from spark_jobs.data import jdbc
from spark_jobs.data.credentials import secret_options
from spark_jobs.data.schema import text_schema
from spark_jobs.runtime.error_translation import first_line
from spark_jobs.runtime.spark_api import jvm

STRICT = {
    "csv": {"header": "true", "enforceSchema": "false", "mode": "FAILFAST"},  # else columns are matched by position, not by name
    "json": {"mode": "FAILFAST"},  # else a broken line is a row of nulls
    # Parquet and ORC: merging the schemas of all files would open every one; one that differs fails when it is read.
}
NO_EFFECT = ("dateFormat", "timestampFormat", "inferSchema")
PACKAGES = {"avro": "org.apache.spark:spark-avro", "delta": "io.delta:delta-spark", "jdbc": "its driver's package"}
REASONS = {  # pattern in Spark's message: message of BadData
    r"\[PATH_NOT_FOUND\]|\[DELTA_PATH_DOES_NOT_EXIST\]": "does not exist; check the source's path and its last delivery",
    r"\[UNABLE_TO_INFER_SCHEMA\]": "holds no data files; check the source's path and its last delivery",
    r"\[DELTA_MISSING_DELTA_TABLE\]|\[DELTA_TABLE_NOT_FOUND\]": "is no Delta table; check the source's path",
    r"\[(TABLE_OR_VIEW|SCHEMA|CATALOG)_NOT_FOUND\]|\[REQUIRES_SINGLE_PART_NAMESPACE\]": (
        "is not in the catalogue; check its name, and the catalogues in the platform's spark.conf"
    ),
    r"No FileSystem for scheme": (
        "is on a file system that this Spark does not know; docs/sources.md lists what a platform's spark.conf needs for it"
    ),
    r"\[DELTA_CONFIGURE_SPARK_SESSION": (
        "needs two lines in the platform's spark.conf: spark.sql.extensions: io.delta.sql.DeltaSparkSessionExtension, and "
        "spark.sql.catalog.spark_catalog: org.apache.spark.sql.delta.catalog.DeltaCatalog"
    ),
}


def source_path(root: str, source: Source) -> str:
    """The source's path, table or URL for messages; where it is a path, Spark opens it."""
    if source.path:
        return source.path if "://" in source.path else f"{root.rstrip('/')}/{source.path}"
    if source.kind == "jdbc":
        return f"{source.table} in {re.split('[?;]', source.options['url'])[0]}"
    return source.table or f"the source of {source.format}"


def open_source(spark: SparkSession, root: str, source: Source, as_of: datetime) -> DataFrame:
    ineffective = sorted(set(source.options) & set(NO_EFFECT))
    if ineffective:
        raise BadData(f"options {', '.join(ineffective)} have no effect: declare the column as a string, and convert it in the SQL")
    reader = spark.read.options(**STRICT.get(source.format, {}), **source.options, **secret_options(spark, source))
    path = source_path(root, source)
    try:
        return _open(spark, reader, path, source, as_of)
    except Exception as error:
        raise read_error(spark, error, path, source) from None


def _open(spark: SparkSession, reader: DataFrameReader, path: str, source: Source, as_of: datetime) -> DataFrame:
    if source.kind == "json":
        reader = reader.schema(text_schema(list(source.paths.values())))
    if source.kind == "delta":
        reader = reader.option("versionAsOf", source.version)
    if source.kind == "jdbc":
        return reader.options(**jdbc.options(spark, source, as_of)).format("jdbc").load()
    if source.table:
        return reader.table(source.table)
    rows = reader.format(source.format).load(path if source.path else None)
    return _unpacked(rows, int(source.options["numFeatures"])) if source.kind == "libsvm" else rows


def _unpacked(rows: DataFrame, features: int) -> DataFrame:
    """LIBSVM's vector as columns f1, f2, …, numbered as in the file."""
    values = vector_to_array(F.col("features"))
    return rows.select("label", *(values[at].alias(f"f{at + 1}") for at in range(features)))


def read_error(spark: SparkSession, error: Exception, path: str, source: Source) -> Exception:
    """The error as BadData with advice; the error itself where the source is not its cause."""
    text = str(error)
    if re.search(r"Failed to find (the )?data source|No suitable driver|ClassNotFoundException", text):
        return BadData(missing_connector(spark, source))
    reason = next((reason for pattern, reason in REASONS.items() if re.search(pattern, text)), None)
    if reason:
        return BadData(f"{path} {reason}")
    if isinstance(error, AnalysisException):
        return BadData(f"{path} cannot be read ({first_line(error)}); check the source in the spec")
    return jdbc.read_error(error, path) or error


def missing_connector(spark: SparkSession, source: Source) -> str:
    scala = jvm().scala.util.Properties.versionNumberString().rpartition(".")[0]
    return (
        f"format {source.format} is not known to this Spark: add {PACKAGES.get(source.kind, 'its package')}, made for Spark "
        f"{spark.version} and Scala {scala}, to spark.jars.packages in the platform's spark.conf"
    )
