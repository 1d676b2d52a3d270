"""Engines that run Spark jobs: base.py has the interface, the other modules one engine each or its parts."""

from contract.spark import Spark
from plugins.retraining.engines.base import Engine


def engine_for(spark: Spark) -> Engine:
    """Imports the engine's module here, when a job runs, so that DAG parsing does not pay for it."""
    if spark.engine == "yarn":
        from plugins.retraining.engines.yarn import YarnEngine

        return YarnEngine(spark)
    if spark.emr:
        from plugins.retraining.engines.emr import EmrEngine

        return EmrEngine(spark, spark.emr)
    if spark.emr_serverless:
        from plugins.retraining.engines.emr_serverless import EmrServerlessEngine

        return EmrServerlessEngine(spark, spark.emr_serverless)
    from plugins.retraining.engines.local import LocalEngine

    return LocalEngine(spark)
