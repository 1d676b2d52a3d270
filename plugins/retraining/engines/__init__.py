"""Where Spark jobs run: base.py has the interface, each other module one place."""

from contract.spark import Spark
from plugins.retraining.engines.base import Engine


def engine_for(spark: Spark) -> Engine:
    """Its module is read when a job runs, not at each parse."""
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
