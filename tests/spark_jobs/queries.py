"""Counts what Spark plans and runs: a bound on queries holds on any machine, a bound on seconds on none."""

from collections.abc import Callable

from pyspark.sql import SparkSession


def queries_of(spark: SparkSession, work: Callable[[], object]) -> int:
    """How many SQL queries `work` starts, views that it makes included."""
    before = _started(spark)
    work()
    return _started(spark) - before


def _started(spark: SparkSession) -> int:
    spark.sparkContext._jsc.sc().listenerBus().waitUntilEmpty()
    return spark._jsparkSession.sharedState().statusStore().executionsCount()
