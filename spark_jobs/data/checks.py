"""Built-in checks of every snapshot, beside its suites. Each is one `DataCheck`; a failed one does not stop the others."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from multiprocessing.pool import ThreadPool
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from contract.base_model import format_duration
from contract.documents import DataCheck, Snapshot, ValidationReport, parse
from contract.paths import FileName, JobFiles, RunFolder
from contract.source import Source
from contract.spec import ModelSpec
from contract.store.base import Store
from spark_jobs.data.dataset import labelled, parts_of
from spark_jobs.data.leakage import Sample, leaks, sampled
from spark_jobs.data.snapshot import Content
from spark_jobs.runtime.spark_api import first_row

EXAMPLES = "examples"  # source name under which checks of the dataset are listed
ENOUGH, AT_MOST = 3, 10  # earlier snapshots
LEAST, MOST = 0.5, 2.0  # of their median


def check_source(content: Content, name: str, source: Source, as_of: datetime) -> list[DataCheck]:
    rows, columns = content.rows, len(content.schema)
    checks = [
        DataCheck(source=name, name="columns", passed=True, detail=f"{columns} as the spec says"),
        DataCheck(source=name, name="window has rows", passed=rows > 0, detail=f"{rows:,} rows {_window(source, as_of)}"),
    ]
    times = _other_times(content, source)
    if times:
        checks.append(_future(name, times, as_of))
    if source.max_age is not None:
        checks.append(_freshness(name, content.newest.get(source.time_column or ""), source.max_age, as_of))
    return checks


def _other_times(content: Content, source: Source) -> dict[str, datetime | None]:
    """The newest of each column but time_column and partition_column (cut at `as_of` already) and those of allow_future."""
    known = {source.time_column, source.partition_column, *source.allow_future}
    return {column: time for column, time in content.newest.items() if column not in known}


def _future(name: str, newest: Mapping[str, datetime | None], as_of: datetime) -> DataCheck:
    """Times after `as_of` would be unknown when the model is served."""
    late = {column: time for column, time in newest.items() if time and time > as_of}
    detail = "; ".join(f"{column} has times until {_minute(time)}" for column, time in late.items())
    advice = "; if that is known in advance, name it in allow_future" if late else ""
    return DataCheck(source=name, name="no times after as_of", passed=not late, detail=f"{detail}{advice}")


def _window(source: Source, as_of: datetime) -> str:
    if source.time_column is None:
        return "in all"
    return f"from {_minute(as_of - source.window)} until {_minute(as_of)}" if source.window else f"before {_minute(as_of)}"


def _freshness(name: str, newest: datetime | None, max_age: timedelta, as_of: datetime) -> DataCheck:
    oldest = as_of - max_age
    detail = (
        f"the newest row is of {_minute(newest)}, it must be of {_minute(oldest)} or later (max_age {format_duration(max_age)})"
    )
    return DataCheck(source=name, name="fresh", passed=newest is not None and newest >= oldest, detail=detail)


def _minute(time: datetime | None) -> str:
    return "no day" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def check_volumes(snapshot: Snapshot, earlier: list[Snapshot]) -> list[DataCheck]:
    """Compared with earlier snapshots of an equally defined source only: after a change of its definition the count starts anew."""
    return [
        _volume(name, rows, [old.rows[name] for old in earlier if old.sources.get(name) == snapshot.sources.get(name)][-AT_MOST:])
        for name, rows in snapshot.rows.items()
    ]


def _volume(name: str, rows: int, earlier: list[int]) -> DataCheck:
    if len(earlier) < ENOUGH:
        detail = f"skipped: {len(earlier)} earlier snapshots of this source, {ENOUGH} are needed"
        return DataCheck(source=name, name="volume", passed=True, detail=detail)
    usual = median(earlier)
    detail = f"{rows:,} rows where {usual:,.0f} are usual; {LEAST} to {MOST} times as many pass"
    return DataCheck(source=name, name="volume", passed=LEAST * usual <= rows <= MOST * usual, detail=detail)


def earlier_snapshots(store: Store, folder: str, as_of: datetime) -> list[Snapshot]:
    """Passed snapshots of this model before `as_of`, in order of their own `as_of`: a run's id may be its trigger time."""
    model = RunFolder(folder).of_model
    every = (snapshot for run in store.names(model) for snapshot in _snapshots_in(store, f"{model}/{run}"))
    by_time = {snapshot.as_of: snapshot for snapshot in every if snapshot.as_of < as_of}
    return [by_time[time] for time in sorted(by_time)]


def _snapshots_in(store: Store, folder: str) -> Iterator[Snapshot]:
    for name in map(FileName.parse, store.names(folder)):
        if name and (name.step, name.kind) == ("validate", ""):
            document = JobFiles(folder, name.step, name.key).document
            yield parse(ValidationReport, store.read(document) or b"").snapshot


class Examined(NamedTuple):
    """`unlabelled`: the share of the holdout's rows without a label."""

    checks: list[DataCheck]
    unlabelled: float = 0.0


def check_examples(rows: DataFrame, spec: ModelSpec, as_of: datetime) -> Examined:
    """`rows` include those without label. They are read three times, which is faster than caching them."""
    facts = _facts_of(rows, spec, as_of)
    learned, judged = (_varies(name, facts[part], spec) for name, part in (("training rows", "train"), ("holdout", "holdout")))
    examples = labelled(rows, spec)
    sample = sampled(examples.where(parts_of(spec, as_of)[0]), spec, facts["train"].rows) if learned.passed else None
    checks = [
        DataCheck(source=EXAMPLES, name="columns", passed=True, detail=f"{len(rows.columns)} as the spec says"),
        _identity(facts, spec),
        *_label(facts, spec),
        learned,
        judged,
        _filled(examples, facts, sample or {}, spec),
        *([_levels(examples, facts, spec)] if spec.examples.categorical else []),
    ]
    if sample:
        checks.append(_listed("no feature tells the label by itself", leaks(sample, spec)))
    return Examined(checks, 1 - facts["holdout"].rows / facts["holdout"].all if facts["holdout"].all else 0.0)


def _facts_of(rows: DataFrame, spec: ModelSpec, as_of: datetime) -> dict[str, Any]:
    """Two queries, at once: counted with the others, each distinct id would carry them all along."""
    named = F.when(F.col(spec.examples.id).isNotNull(), F.xxhash64(spec.examples.id))
    distinct = labelled(rows, spec).agg(F.count_distinct(named).alias("distinct_ids"))
    with ThreadPool(2) as pool:
        facts, ids = pool.map(first_row, (rows.agg(*_facts(spec, as_of)), distinct), chunksize=1)
    return {**facts.asDict(), **ids.asDict()}


def _facts(spec: ModelSpec, as_of: datetime) -> list[Column]:
    """Counts are of labelled rows but for `all`."""
    named = spec.examples
    label = F.col(named.label)

    def of_labelled(column: Column | str) -> Column:
        return F.count(F.when(label.isNotNull(), column))

    return [
        F.count("*").alias("all"),
        F.count(label).alias("rows"),
        of_labelled(F.col(named.id)).alias("ids"),
        of_labelled(F.col(named.time) if named.time else F.lit(1)).alias("times"),
        F.count(F.when(~label.isin(0, 1), label) if spec.task == "binary" else F.lit(None)).alias("odd_labels"),
        F.max(F.array_max(F.array(F.lit(0.0), *named.numeric))).alias("largest"),  # computes all: the SQL may fail on any row
        *(F.approx_count_distinct(F.when(label.isNotNull(), F.col(name))).alias(f"levels {name}") for name in named.categorical),
        *(_part(part, label).alias(name) for name, part in zip(("train", "holdout"), parts_of(spec, as_of), strict=True)),
    ]


def _part(part: Column, label: Column) -> Column:
    known = F.when(part, label)
    return F.struct(
        F.count_if(part).alias("all"), F.count(known).alias("rows"), F.min(known).alias("low"), F.max(known).alias("high")
    )


def _identity(facts: Mapping[str, Any], spec: ModelSpec) -> DataCheck:
    rows, ids, distinct, times = (facts[name] for name in ("rows", "ids", "distinct_ids", "times"))
    problems = [
        f"{rows - ids:,} rows without {spec.examples.id}" if ids < rows else "",
        f"{ids - distinct:,} rows repeat another's {spec.examples.id} (does a join multiply rows?)" if distinct < ids else "",
        f"{rows - times:,} rows without {spec.examples.time}" if times < rows else "",
    ]
    return _listed("every row has an id of its own and a time", problems, f"{rows:,} rows")


def _label(facts: Mapping[str, Any], spec: ModelSpec) -> Iterator[DataCheck]:
    label, rows = spec.examples.label, facts["rows"]
    yield DataCheck(
        source=EXAMPLES, name="label present", passed=rows > 0, detail=f"{rows:,} of {facts['all']:,} rows have {label}"
    )
    if spec.task == "binary":
        odd = facts["odd_labels"]
        yield DataCheck(source=EXAMPLES, name="label is 0 or 1", passed=odd == 0, detail=f"{odd:,} rows with another {label}")


def _varies(name: str, part: Row, spec: ModelSpec) -> DataCheck:
    """Fails where the part has no rows or a constant label."""
    constant = part.low == part.high
    detail = f"{part.rows:,} rows" + (f", {spec.examples.label} is {part.low} in all" if part.rows and constant else "")
    return DataCheck(source=EXAMPLES, name=f"{name}: label varies", passed=part.rows > 0 and not constant, detail=detail)


def _filled(examples: DataFrame, facts: Mapping[str, Any], sample: Sample, spec: ModelSpec) -> DataCheck:
    empty = [*_empty_numbers(examples, sample, spec), *(name for name in spec.examples.categorical if not facts[f"levels {name}"])]
    return _listed("features have values", [f"{name} is null in all rows" for name in empty])


def _empty_numbers(examples: DataFrame, sample: Sample, spec: ModelSpec) -> list[str]:
    """Counts the values of those only that the sample shows none of: a thousand counts take longer than all other facts."""
    unseen = [name for name in spec.examples.numeric if name not in sample or np.isnan(sample[name]).all()]
    counts = first_row(examples.agg(*(F.count(name) for name in unseen))) if unseen else ()
    return [name for name, count in zip(unseen, counts, strict=True) if not count]


def _levels(examples: DataFrame, facts: Mapping[str, Any], spec: ModelSpec) -> DataCheck:
    """Counts exactly only where the estimate (5 % off, rarely 15) comes near the limit."""
    limit = spec.features.max_categories
    close = [name for name in spec.examples.categorical if facts[f"levels {name}"] > 0.7 * limit]
    counts = first_row(examples.agg(*(F.count_distinct(name).alias(name) for name in close))).asDict() if close else {}
    problems = [f"{name} has {count:,} levels, {limit:,} are allowed" for name, count in counts.items() if count > limit]
    return _listed("categories have few levels", problems)


def _listed(name: str, problems: list[str], detail: str = "") -> DataCheck:
    reported = [problem for problem in problems if problem]
    return DataCheck(source=EXAMPLES, name=name, passed=not reported, detail="; ".join(reported) or detail)
