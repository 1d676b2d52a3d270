"""JDBC options of database tables: parallel partitions, time zone, driver; and errors of databases."""

from datetime import datetime

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from contract.errors import BadData, RetrainingError, TransientError
from contract.source import Jdbc, Source
from spark_jobs.runtime.spark_api import jvm

DRIVERS = {"jdbc:postgresql:": "org.postgresql.Driver"}  # Spark does not detect drivers in spark.jars.packages
LOGIN = "28"
OF_MACHINERY = ("08", "40", "53", "57", "58", "XX")  # SQLSTATE classes: no connection, out of resources, stopped by an operator, …


def options(spark: SparkSession, source: Source, as_of: datetime) -> dict[str, str | None]:
    url = source.options["url"]
    driver = next((name for start, name in DRIVERS.items() if url.startswith(start)), None)
    jdbc = source.jdbc or Jdbc()
    return {
        "dbtable": source.table,
        "fetchsize": str(jdbc.fetchsize),
        **_times(spark),
        **({"driver": driver} if driver and "driver" not in source.options else {}),
        **(_parts(jdbc, source, as_of) if jdbc.partitionColumn else {}),
    }


def _times(spark: SparkSession) -> dict[str, str]:
    """Reads timestamps without zone as such; else Spark takes them as JVM-local. Spark 3.5 cannot: its JVM must be in UTC."""
    if not spark.version.startswith("3."):
        return {"preferTimestampNTZ": "true"}
    if jvm().java.time.ZoneId.systemDefault().normalized().getId() != "Z":
        raise BadData(
            "Spark 3.5 takes a database's times without a zone as local ones: add -Duser.timezone=UTC to "
            "spark.driver.extraJavaOptions and spark.executor.extraJavaOptions in the platform's spark.conf"
        )
    return {}


def _parts(jdbc: Jdbc, source: Source, as_of: datetime) -> dict[str, str | None]:
    first, last = str(jdbc.lowerBound), str(jdbc.upperBound)
    if jdbc.lowerBound is None and source.window is not None:
        first, last = (f"{moment:%Y-%m-%d %H:%M:%S}" for moment in (as_of - source.window, as_of))
    return {
        "partitionColumn": jdbc.partitionColumn,
        "lowerBound": first,
        "upperBound": last,
        "numPartitions": str(jdbc.numPartitions),
    }


def read_error(error: Exception, path: str) -> RetrainingError | None:
    """A database's error as BadData, or as TransientError where a retry may help (unreachable, out of resources); else None."""
    if not isinstance(error, Py4JJavaError) or not hasattr(error.java_exception, "getSQLState"):
        return None
    state, reason = error.java_exception.getSQLState() or "", str(error.java_exception.getMessage()).partition("\n")[0].rstrip(".")
    if state.startswith(LOGIN):
        return BadData(f"{path} cannot be read: {reason}; check options.user, and the secret that the spec names")
    if not state or state.startswith(OF_MACHINERY):
        return TransientError(f"{path} cannot be reached: {reason}; check that the database is up, then clear this task")
    return BadData(f"{path} cannot be read: {reason}; check the source in the spec")
