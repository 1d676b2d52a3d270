"""The one way a Spark session is made: times are UTC in SQL and in Python, and a bad value raises on every Spark line."""

import os
import time

from pyspark.sql import SparkSession

SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",  # Spark 3.5's default is off, 4's is on: one meaning of a spec's SQL on both
    "spark.sql.execution.arrow.pyspark.enabled": "true",  # toPandas() is five times faster
    "spark.ui.showConsoleProgress": "false",
}


def start_session(name: str, settings: dict[str, str] | None = None) -> SparkSession:
    """What spark-submit was given stays, but for SETTINGS."""
    os.environ["TZ"] = "UTC"  # Python's side of collect() makes local times otherwise
    time.tzset()
    builder = SparkSession.builder.appName(name)
    for key, value in {**(settings or {}), **SETTINGS}.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("WARN")
    return session
