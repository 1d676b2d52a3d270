"""What the jobs of one application hand to each other in memory, so that nothing is read or built twice."""

from collections.abc import Mapping

from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession

from contract.documents import Snapshot
from contract.spec import ModelSpec
from spark_jobs.data.dataset import build_rows
from spark_jobs.runtime.shared_folder import SharedFolder


class Handover:
    """The dataset, cached, the pipeline that was fitted, and a folder that all nodes see.

    Where an application does one job nothing is kept: caching costs a job more than it saves. What only one job needs it lets go
    itself, so that the next one has the memory.
    """

    def __init__(self, jobs: int = 1, shared: SharedFolder | None = None) -> None:
        """`jobs`: how many the application does; `shared`: where it has more than one host."""
        self.shared = shared or SharedFolder()
        self._keeps = jobs > 1
        self._datasets: dict[str, DataFrame] = {}
        self._pipelines: dict[int, PipelineModel] = {}

    def rows(self, spark: SparkSession, snapshot: Snapshot, spec: ModelSpec, sql: str | None) -> DataFrame:
        """As `build_rows` makes them."""
        if not self._keeps:
            return build_rows(spark, snapshot, spec, sql)
        made_of = f"{snapshot.uri} {sql} {spec.model_dump_json()}"
        if made_of not in self._datasets:
            self._datasets[made_of] = build_rows(spark, snapshot, spec, sql).persist()
        return self._datasets[made_of]

    def cached(self, part: DataFrame) -> DataFrame:
        """A part of the dataset that is read several times: as it is, where the dataset is cached."""
        return part if self._keeps else part.persist()

    def keep_pipeline(self, version: int, pipeline: PipelineModel) -> None:
        if self._keeps:
            self._pipelines[version] = pipeline

    @property
    def pipelines(self) -> Mapping[int, PipelineModel]:
        """By the registered version that each is."""
        return self._pipelines
