"""The snapshot: the rows that one run checks and trains on, written before anything reads them.

Caching would not freeze them: Spark recomputes lost blocks from a source that may have changed. So the rows are written first, and
what is read back is checked. The folder is named by the job's key, and is valid once a validation report names it.
"""

import logging
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from multiprocessing.pool import ThreadPool
from typing import Any, NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from contract.documents import Snapshot
from contract.keys import digest_of
from contract.source import Source
from spark_jobs.data.schema import TIMES
from spark_jobs.data.sources import Rows
from spark_jobs.runtime.spark_api import first_row

log = logging.getLogger(__name__)
AT_ONCE = 4  # sources: a small one keeps one core busy, mostly with planning its query


class Content(NamedTuple):
    """What one pass over a source's rows tells.

    `rows`, the sum of row hashes and the types are equal for equal rows in any order; `newest`: by column of times or dates.
    """

    rows: int
    hashes: str
    schema: dict[str, str]
    newest: dict[str, datetime | None]


class Frozen(NamedTuple):
    snapshot: Snapshot
    frames: dict[str, DataFrame]
    contents: dict[str, Content]


def freeze(
    spark: SparkSession,
    read: Mapping[str, Rows],
    sources: Mapping[str, Source],
    uri: str,
    as_of: datetime,
    cached: Container[str] = (),
) -> Frozen:
    """Writes each source's rows to `<uri>/<source>` and returns them as read back. `cached`: sources that are read again."""

    def write(name: str) -> tuple[DataFrame, Content]:
        rows = read[name].frame
        rows.write.mode("overwrite").parquet(f"{uri}/{name}")
        written = spark.read.schema(rows.schema).parquet(f"{uri}/{name}")
        written = written.cache() if name in cached else written
        return written, content_of(written)

    with ThreadPool(min(len(read), AT_ONCE)) as pool:
        frozen = dict(zip(read, pool.map(write, read, chunksize=1), strict=True))
    contents = {name: content for name, (_, content) in frozen.items()}
    versions = {name: rows.version for name, rows in read.items() if rows.version is not None}
    for name, content in contents.items():
        log.info(f"validate: {name}: {content.rows:,} rows written to {uri}/{name}")
    return Frozen(
        snapshot=Snapshot(
            uri=uri,
            fingerprint=fingerprint_of(contents, versions),
            rows={name: content.rows for name, content in contents.items()},
            as_of=as_of,
            versions=versions,
            sources={name: source_hash(source) for name, source in sources.items()},
        ),
        frames={name: frame for name, (frame, _) in frozen.items()},
        contents=contents,
    )


def content_of(frame: DataFrame) -> Content:
    columns = sorted(frame.columns)
    nulls = F.concat(*(F.col(name).isNull().cast("string") for name in columns))  # xxhash64 skips nulls: (null, a) is (a, null)
    row = F.xxhash64(*columns, nulls).cast("decimal(20,0)")
    times = [field.name for field in frame.schema if isinstance(field.dataType, TIMES)]
    newest = (F.max(name).cast("timestamp") for name in times)
    rows, hashes, *latest = first_row(frame.agg(F.count("*"), F.sum(row), *newest))
    zoned = [time and time.replace(tzinfo=UTC) for time in latest]
    return Content(rows, str(hashes), dict(frame.select(*columns).dtypes), dict(zip(times, zoned, strict=True)))


def fingerprint_of(contents: Mapping[str, Content], versions: Mapping[str, int]) -> str:
    """Digest of the rows, and of table versions where there are any: equal rows of another version are another snapshot."""
    return digest_of(
        {
            name: [content.rows, content.hashes, content.schema, *([versions[name]] if name in versions else [])]
            for name, content in contents.items()
        }
    )


def source_hash(source: Source) -> str:
    """Digest of the keys that the spec sets, so that a new optional key with a default does not change it."""
    plain: dict[str, Any] = source.model_dump(mode="json", exclude_defaults=True)
    return digest_of(plain)[:12]
