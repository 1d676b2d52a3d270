"""Starts every Spark session: UTC in SQL and Python, ANSI mode (bad values raise) on every Spark version."""

import os
import time

from pyspark.sql import SparkSession

SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",  # default off in Spark 3.5 and on in 4: a spec's SQL must mean the same on both
    "spark.sql.execution.arrow.pyspark.enabled": "true",  # toPandas() is five times faster
    "spark.ui.showConsoleProgress": "false",
}


def start_session(name: str, settings: dict[str, str] | None = None) -> SparkSession:
    """Settings given to spark-submit stay, except for SETTINGS."""
    os.environ["TZ"] = "UTC"  # else collect() gives local times in Python
    time.tzset()
    builder = SparkSession.builder.appName(name)
    for key, value in {**(settings or {}), **SETTINGS}.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("WARN")
    return session
