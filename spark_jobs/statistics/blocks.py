"""Blocks of holdout rows. Rows of one block may depend on each other; intervals are computed over blocks, not rows."""

from datetime import datetime, timedelta
from math import ceil, floor

from pyspark.sql import Column
from pyspark.sql import functions as F

from contract.gate import TIME
from contract.spec import ModelSpec
from spark_jobs.data.dataset import time_split_of

DAY_S = 86_400
HOUR_S = 3_600
SHORT = timedelta(days=7)
MOST_BLOCKS = 200
HASH_BLOCKS = 30
BY_TIME, BY_CLUSTER, BY_BOTH, BY_ROW = "time_block", "cluster_block", "both_block", "row_block"


def groupings_of(spec: ModelSpec, as_of: datetime) -> dict[str, Column]:
    """Block number by grouping: time, a cluster column, or time, cluster and both together; without either the id's hash."""
    cluster, timed = spec.gate.cluster, time_split_of(spec)
    groupings = {}
    if timed and (TIME in spec.gate.blocks or cluster is None):
        until = spec.labels_until(as_of)
        groupings[BY_TIME] = time_block(timed.time, until - timed.holdout, until)
    if cluster:
        groupings[BY_CLUSTER] = _hashed(MOST_BLOCKS, F.col(cluster))
        if BY_TIME in groupings:
            groupings[BY_BOTH] = _hashed(MOST_BLOCKS, groupings[BY_TIME], F.col(cluster))
    return groupings or {BY_ROW: _hashed(HASH_BLOCKS, F.col(spec.examples.id))}


def time_block(time: str, since: datetime, until: datetime) -> Column:
    """Increases with time: one UTC day, or one hour below 7 days of holdout; neighbours are merged above MOST_BLOCKS."""
    unit_s = HOUR_S if until - since < SHORT else DAY_S
    first = floor(since.timestamp() / unit_s)
    units = ceil(until.timestamp() / unit_s) - first
    merged = ceil(units / MOST_BLOCKS)
    return F.floor((F.unix_seconds(F.col(time)) - first * unit_s) / (unit_s * merged))


def _hashed(blocks: int, *columns: Column) -> Column:
    """Salted, to be independent of the hash that chose the holdout. Null is a value like any other."""
    return F.pmod(F.xxhash64(F.lit("block"), *columns), F.lit(blocks))
