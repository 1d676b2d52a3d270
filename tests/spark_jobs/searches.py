"""A search as the train job makes it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from tempfile import TemporaryDirectory

from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from contract.documents import Candidate, FittedIn
from contract.paths import JobFiles
from contract.spec import ModelSpec
from contract.store.base import Store
from contract.store.local import LocalStore
from spark_jobs.data.labels import Labels
from spark_jobs.training.search import CandidateSearch
from spark_jobs.training.search_records import SearchStore

FILES = JobFiles("runs/late/1", "train", "0a1b")


def rows_by_second(spark: SparkSession) -> DataFrame:
    """10,000 rows: late where a count from 0 to 9 is 5 or more, but for every seventh row."""
    frame = spark.range(10_000).select(
        F.col("id").cast("string").alias("id"),
        (F.lit(datetime(2026, 1, 1, tzinfo=UTC)) + F.expr("make_dt_interval(0, 0, 0, cast(id as int))")).alias("at"),
        ((F.pmod("id", F.lit(10)) >= 5) & (F.pmod("id", F.lit(7)) > 0)).cast("double").alias("late"),
        array_to_vector(F.expr("array(cast(id % 10 as double), cast(id % 3 as double))")).alias("features"),
    )
    return frame.cache()


def search(rows: DataFrame, spec: ModelSpec, labels: Labels | None, where: FittedIn = "executors") -> Sequence[Candidate]:
    with TemporaryDirectory() as folder:
        return search_with(LocalStore(folder), rows, spec, labels, where)


def search_with(
    store: Store, rows: DataFrame, spec: ModelSpec, labels: Labels | None, where: FittedIn = "executors"
) -> Sequence[Candidate]:
    """Ended fits are in `store`."""
    return CandidateSearch(spec, labels, levels=0, seed=1, where=where, kept=SearchStore(store, FILES)).run(rows)
