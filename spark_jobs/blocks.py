"""The block of a holdout row. Rows of one block may depend on each other; blocks, not rows, are what the gate counts."""

from datetime import datetime, timedelta
from math import ceil, floor

from pyspark.sql import Column
from pyspark.sql import functions as F

from contract.spec import ModelSpec

DAY_S = 86_400
HOUR_S = 3_600
SHORT = timedelta(days=7)
MOST_BLOCKS = 200
HASH_BLOCKS = 30


def block_of(spec: ModelSpec, as_of: datetime) -> Column:
    """A whole number that rises with time: a UTC day, an hour of a short holdout, several of them where there are many.

    Without time: a hash of the id, salted so that it does not follow the hash that chose the holdout.
    """
    if spec.examples.time is None:
        return F.pmod(F.xxhash64(F.lit("block"), F.col(spec.examples.id)), F.lit(HASH_BLOCKS))
    unit_s = HOUR_S if spec.split.holdout < SHORT else DAY_S
    first = floor((as_of - spec.split.holdout).timestamp() / unit_s)
    units = ceil(as_of.timestamp() / unit_s) - first
    merged = ceil(units / MOST_BLOCKS)
    return F.floor((F.unix_seconds(F.col(spec.examples.time)) - first * unit_s) / (unit_s * merged))
