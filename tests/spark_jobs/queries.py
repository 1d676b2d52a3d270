"""Counts what Spark plans and runs: a bound on queries holds on any machine, a bound on seconds on none."""

from collections.abc import Callable
from typing import TypeVar

from pyspark.sql import SparkSession

Result = TypeVar("Result")


def queries_of(spark: SparkSession, work: Callable[[], object]) -> int:
    """How many SQL queries `work` starts, views that it makes included."""
    return counted(spark, work)[1]


def counted(spark: SparkSession, work: Callable[[], Result]) -> tuple[Result, int]:
    """What `work` returns, and the SQL queries that it starts."""
    before = _started(spark)
    result = work()
    return result, _started(spark) - before


def _started(spark: SparkSession) -> int:
    spark.sparkContext._jsc.sc().listenerBus().waitUntilEmpty()
    return spark._jsparkSession.sharedState().statusStore().executionsCount()
