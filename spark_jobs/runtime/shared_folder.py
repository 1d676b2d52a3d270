"""A folder that every node sees.

Spark's tasks write and read a pipeline's files wherever they run, and an executor does not see the driver's disk.
"""

import uuid
from pathlib import Path
from typing import Any

from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession

from spark_jobs.runtime.spark_api import jvm


class SharedFolder:
    """`uri`: of a folder that only one application uses; empty where all of Spark is on this host, and nothing is copied."""

    def __init__(self, uri: str = "") -> None:
        self.uri = uri

    @classmethod
    def of(cls, spark: SparkSession, uri: str) -> "SharedFolder":
        return cls() if (spark.sparkContext.master or "").startswith("local") else cls(uri)

    def save(self, pipeline: PipelineModel, folder: Path) -> None:
        """Into a folder on the driver's disk."""
        path = f"{self.uri}/saved" if self.uri else _local(folder)
        pipeline.write().overwrite().save(path)
        if self.uri:
            folder.parent.mkdir(parents=True, exist_ok=True)
            raw = True  # without a checksum file beside each file
            self._files.copyToLocalFile(False, _path(path), _path(_local(folder)), raw)

    def published(self, folder: Path) -> str:
        """URI by which tasks read a folder of the driver's disk."""
        if not self.uri:
            return _local(folder)
        path = f"{self.uri}/{uuid.uuid4().hex}"
        self._files.copyFromLocalFile(False, True, _path(_local(folder)), _path(path))
        return path

    def remove(self) -> None:
        if self.uri:
            self._files.delete(_path(self.uri), True)

    @property
    def _files(self) -> Any:
        configuration = SparkSession.active().sparkContext._jsc.hadoopConfiguration()
        return _path(self.uri).getFileSystem(configuration)


def _path(uri: str) -> Any:
    return jvm().org.apache.hadoop.fs.Path(uri)


def _local(folder: Path) -> str:
    return f"file://{folder.resolve()}"
