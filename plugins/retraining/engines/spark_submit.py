"""spark-submit from Spark's environment: its command, by the provider's hook, and its environment variables."""

import os
from pathlib import Path
from typing import Any

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook

from contract.platform import Platform
from contract.spark import Spark
from plugins.retraining.engines.base import Submission
from plugins.retraining.errors import EngineTrouble

BUNDLE = Path(__file__).resolve().parents[3]
RUN = BUNDLE / "spark_jobs" / "run.py"


def hook_for(spark: Spark, submission: Submission, conf: dict[str, str], **shipped: Any) -> SparkSubmitHook:
    """Raises EngineTrouble where the connection's master does not fit the engine; the hook takes a missing connection for yarn."""
    conf = {**file_systems(submission.run.platform), **conf}
    name, arguments = submission.name, submission.arguments
    hook = SparkSubmitHook(conn_id=spark.connection, conf=conf, name=name, application_args=arguments, **shipped)
    master = hook._connection["master"]
    expected = "local[*]" if spark.engine == "local" else spark.engine
    if not master.startswith(spark.engine):
        raise EngineTrouble(
            f"the Airflow connection {spark.connection} is missing or its master is {master}, "
            f"but engine {spark.engine} needs {expected}: add it (type spark, host {expected}), or choose another platform"
        )
    return hook


def file_systems(platform: Platform) -> dict[str, str]:
    """Maps s3://, which files and documents use everywhere, to plain Hadoop's s3a."""
    in_bucket = any(root.startswith("s3://") for root in (platform.store, platform.data))
    return {"spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem"} if in_bucket else {}


def spark_home(python: str) -> Path:
    interpreter = Path(os.path.abspath(python))  # not resolved: a virtual environment's python is a link
    homes = list(interpreter.parents[1].glob("lib/python3*/site-packages/pyspark"))
    if not homes:
        raise EngineTrouble(f"the environment of {interpreter} has no pyspark: set spark.python in the platform's file")
    return homes[0]


def environment(spark: Spark, **more: str) -> dict[str, str]:
    """Spark's environment first on PATH; without Airflow's variables, which may contain secrets."""
    interpreter = os.path.abspath(spark.python)
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
    return ours | {
        "PATH": f"{os.path.dirname(interpreter)}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(BUNDLE),
        "PYTHONUNBUFFERED": "1",
        "PYSPARK_PYTHON": interpreter,
        "PYSPARK_DRIVER_PYTHON": interpreter,
        "SPARK_HOME": str(spark_home(spark.python)),
        **more,
    }
