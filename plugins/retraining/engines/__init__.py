"""Where Spark jobs run: base.py has the interface, each other module one place."""

from contract.platform import Spark
from plugins.retraining.engines.base import Engine


def engine_for(spark: Spark) -> Engine:
    from plugins.retraining.engines.local import LocalEngine  # the Spark provider is wanted when a job runs, not at each parse

    return LocalEngine(spark)
