"""Secrets of sources: kept in a Hadoop credential provider, which a cluster's nodes can read, and taken when a job reads."""

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
        raise BadData(f"secret {alias} is kept nowhere: name its provider in the platform's spark.conf, spark.hadoop.{PROVIDER}")
    password = conf.getPassword(alias)
    if password is None:
        raise BadData(f"secret {alias} is not in {provider}: put it there by hadoop credential create {alias} -provider {provider}")
    return "".join(password)
