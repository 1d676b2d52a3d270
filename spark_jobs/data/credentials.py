"""Secrets of sources, read from a Hadoop credential provider when a job opens the source."""

from pyspark.sql import SparkSession

from contract.errors import BadData
from contract.source import Source

PROVIDER = "hadoop.security.credential.provider.path"


def secret_options(spark: SparkSession, source: Source) -> dict[str, str]:
    return {option: _secret(spark, alias) for option, alias in source.secrets.items()}


def _secret(spark: SparkSession, alias: str) -> str:
    conf = spark.sparkContext._jsc.hadoopConfiguration()
    provider = conf.get(PROVIDER)
    if provider is None:
        raise BadData(f"secret {alias} has no credential provider: set spark.hadoop.{PROVIDER} in the platform's spark.conf")
    password = conf.getPassword(alias)
    if password is None:
        raise BadData(f"secret {alias} is not in {provider}: add it by hadoop credential create {alias} -provider {provider}")
    return "".join(password)
