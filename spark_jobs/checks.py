"""What every snapshot is checked for, whatever its suites say. Each check is one `DataCheck`; none stops the others."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from statistics import median
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from contract.documents import DataCheck, Snapshot, ValidationReport
from contract.spec import ModelSpec, Source
from contract.store import Store
from contract.strict import format_duration
from spark_jobs.examples import labelled, split

EXAMPLES = "examples"  # the source that checks of the joined rows are listed under
ENOUGH, AT_MOST = 3, 10  # earlier snapshots
LEAST, MOST = 0.5, 2.0  # of their median


def check_source(frame: DataFrame, name: str, source: Source, as_of: datetime) -> list[DataCheck]:
    newest = F.max(source.time_column) if source.time_column else F.lit(None)
    rows, last = frame.agg(F.count("*"), newest.cast("timestamp")).first()
    checks = [
        DataCheck(source=name, name="columns", passed=True, detail=f"{len(frame.columns)} as the spec says"),
        DataCheck(source=name, name="window has rows", passed=rows > 0, detail=f"{rows:,} rows {_window(source, as_of)}"),
    ]
    if source.max_age is not None:
        checks.append(_freshness(name, last.replace(tzinfo=UTC) if last else None, source, as_of))
    return checks


def _window(source: Source, as_of: datetime) -> str:
    if source.time_column is None:
        return "in all"
    return f"from {_minute(as_of - source.window)} until {_minute(as_of)}" if source.window else f"before {_minute(as_of)}"


def _freshness(name: str, newest: datetime | None, source: Source, as_of: datetime) -> DataCheck:
    oldest = as_of - source.max_age
    detail = (
        f"the newest row is of {_minute(newest)}, {_minute(oldest)} or later is wanted (max_age {format_duration(source.max_age)})"
    )
    return DataCheck(source=name, name="fresh", passed=newest is not None and newest >= oldest, detail=detail)


def _minute(time: datetime | None) -> str:
    return "no day" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def check_volumes(snapshot: Snapshot, earlier: list[Snapshot]) -> list[DataCheck]:
    """Only snapshots of an equally defined source count: a source that was changed on purpose starts anew."""
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
    """Snapshots that passed in runs of this model, by their `as_of`: what a run's id says may be when somebody triggered it."""
    model, _, _ = folder.rpartition("/")
    every = (snapshot for run in store.names(model) for snapshot in _snapshots_in(store, f"{model}/{run}"))
    found = {snapshot.as_of: snapshot for snapshot in every if snapshot.as_of < as_of}
    return [found[time] for time in sorted(found)]


def _snapshots_in(store: Store, folder: str) -> Iterator[Snapshot]:
    for name in store.names(folder):
        if name.startswith("validate-") and name.count(".") == 1:  # not .error.json, .failed.json, .report.json
            yield ValidationReport.model_validate_json(store.read(f"{folder}/{name}") or b"").snapshot


def check_examples(rows: DataFrame, spec: ModelSpec, as_of: datetime) -> list[DataCheck]:
    """`rows`, also those without label, are read more than once: give them cached."""
    examples = labelled(rows, spec)
    train, holdout = split(examples, spec, as_of)
    facts = {**examples.agg(*_facts(spec)).first().asDict(), "all": rows.count()}
    return [
        DataCheck(source=EXAMPLES, name="columns", passed=True, detail=f"{len(examples.columns)} as the spec says"),
        _identity(facts, spec),
        *_label(facts, spec),
        _part("training rows", train, spec),
        _part("holdout", holdout, spec),
        _filled(facts, spec),
        *([_levels(examples, facts, spec)] if spec.examples.categorical else []),
    ]


def _facts(spec: ModelSpec) -> list[Column]:
    named = spec.examples
    label = F.col(named.label)
    return [
        F.count("*").alias("rows"),
        F.count(named.id).alias("ids"),
        F.count_distinct(named.id).alias("distinct_ids"),
        (F.count(named.time) if named.time else F.count("*")).alias("times"),
        F.count(F.when(~label.isin(0, 1), label) if spec.task == "binary" else F.lit(None)).alias("odd_labels"),
        *(F.count(name).alias(f"filled {name}") for name in (*named.numeric, *named.categorical)),
        *(F.approx_count_distinct(name).alias(f"levels {name}") for name in named.categorical),
    ]


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


def _part(name: str, rows: DataFrame, spec: ModelSpec) -> DataCheck:
    """A part whose label is constant can neither teach nor judge."""
    label = spec.examples.label
    count, low, high = rows.agg(F.count("*"), F.min(label), F.max(label)).first()
    detail = f"{count:,} rows" + (f", {label} is {low} in all" if count and low == high else "")
    return DataCheck(source=EXAMPLES, name=f"{name}: label varies", passed=count > 0 and low != high, detail=detail)


def _filled(facts: Mapping[str, Any], spec: ModelSpec) -> DataCheck:
    features = (*spec.examples.numeric, *spec.examples.categorical)
    return _listed("features have values", [f"{name} is null in all rows" for name in features if not facts[f"filled {name}"]])


def _levels(examples: DataFrame, facts: Mapping[str, Any], spec: ModelSpec) -> DataCheck:
    """Counts exactly only where the estimate (5 % off, rarely 15) comes near the limit."""
    limit = spec.features.max_categories
    close = [name for name in spec.examples.categorical if facts[f"levels {name}"] > 0.7 * limit]
    counts = examples.agg(*(F.count_distinct(name).alias(name) for name in close)).first().asDict() if close else {}
    problems = [f"{name} has {count:,} levels, {limit:,} are allowed" for name, count in counts.items() if count > limit]
    return _listed("categories have few levels", problems)


def _listed(name: str, problems: list[str], detail: str = "") -> DataCheck:
    said = [problem for problem in problems if problem]
    return DataCheck(source=EXAMPLES, name=name, passed=not said, detail="; ".join(said) or detail)
