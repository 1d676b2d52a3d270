"""An earlier version as reference model: whether it is comparable with the challenger, and its answers on the same holdout rows."""

from datetime import datetime

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from contract.base_model import format_duration
from contract.documents import Snapshot
from contract.errors import BadData, PermanentError
from contract.source import Source
from contract.spec import ModelSpec
from spark_jobs.comparison.holdout import Scored, answer_of
from spark_jobs.data.dataset import build_examples, parts_of, time_split_of
from spark_jobs.runtime.spark_api import first_row
from spark_jobs.tracking.model_versions import Version

LEAST_COMMON = 0.9  # share of the holdout rows that both sides must have


class Incomparable(PermanentError):
    """No fair comparison is possible; a person may still decide."""


def with_version(scored: Scored, reference: Version, role: str, until: datetime | None) -> DataFrame:
    """`scored.rows` after `until`, with the reference model's answers in `reference`; raises Incomparable."""
    spec, examples = scored.run.spec, reference.spec.examples
    holdout = scored.rows.where(_later(spec.examples.time, until))
    if _same_features(scored.challenger, reference):
        if until is not None and holdout.isEmpty():
            raise Incomparable(f"the {role} has learned from all rows of the holdout")
        return reference.pipeline.transform(holdout).select(
            *holdout.columns, answer_of(reference, scored.facts.centre).alias("reference")
        )
    rows = _rows_of(holdout.sparkSession, reference, role, scored.snapshot)
    held_out = parts_of(spec, scored.run.as_of)[1]
    expected = rows.where(held_out & _later(examples.time, until)).count()
    ids = holdout.select(F.col(spec.examples.id).alias(examples.id))
    theirs = reference.pipeline.transform(rows.join(ids, on=examples.id, how="left_semi")).select(
        F.col(examples.id).alias("their_id"),
        F.col(examples.label).alias("their_label"),
        answer_of(reference, scored.facts.centre).alias("reference"),
    )
    pairs = holdout.join(theirs, on=F.col(spec.examples.id) == F.col("their_id"), how="inner").persist()
    check_pairs(pairs, (scored.facts.rows if until is None else holdout.count(), expected), spec.examples.label, role)
    return pairs


def _later(time: str | None, until: datetime | None) -> Column:
    """Whether a row is later than `until`; every row is where either is None."""
    return F.lit(True) if time is None or until is None else F.col(time) > F.lit(until)


def _same_features(challenger: Version, reference: Version) -> bool:
    """Same SQL and no feature that the challenger lacks: the reference model can score the challenger's rows without a join."""
    ours, theirs = challenger.spec.examples, reference.spec.examples
    kinds = ((ours.numeric, theirs.numeric), (ours.categorical, theirs.categorical))
    return challenger.sql == reference.sql and all(set(known) >= set(needed) for known, needed in kinds)


def _rows_of(spark: SparkSession, reference: Version, role: str, snapshot: Snapshot) -> DataFrame:
    try:
        return build_examples(spark, snapshot, reference.spec, reference.sql)
    except (BadData, AnalysisException) as error:
        reason = str(error).splitlines()[0]
        raise Incomparable(f"the {role}'s own feature SQL does not fit this snapshot: {reason}") from error


def check_pairs(pairs: DataFrame, holdout: tuple[int, int], label: str, role: str) -> None:
    """`holdout`: its row counts by the challenger's and by the reference version's feature SQL. Raises Incomparable."""
    rows, theirs = holdout
    if not rows:
        raise Incomparable(f"the {role} has learned from all rows of the holdout")
    other = ~F.col(label).eqNullSafe(F.col("their_label"))
    common, ids, relabelled = first_row(pairs.agg(F.count("*"), F.count_distinct("their_id"), F.count_if(other)))
    sql = f"the {role}'s own feature SQL"
    if common != ids:
        raise Incomparable(f"{sql} gives {common:,} rows for {ids:,} ids of the holdout")
    if common < LEAST_COMMON * rows:
        raise Incomparable(f"{sql} gives {common:,} of the {rows:,} holdout rows; at least {LEAST_COMMON:.0%} are needed")
    if common < LEAST_COMMON * theirs:
        raise Incomparable(
            f"the challenger's feature SQL leaves {common:,} of the {theirs:,} holdout rows that {sql} gives; "
            f"at least {LEAST_COMMON:.0%} are needed"
        )
    if relabelled:
        raise Incomparable(f"{relabelled:,} of {common:,} holdout rows have another label under {sql}")


def check_comparable(spec: ModelSpec, reference: Version, role: str) -> None:
    """Raises Incomparable where task, key columns or sources differ, or the reference's split by id trained it on holdout rows."""
    theirs = reference.spec
    for name, old, new in [
        ("task", theirs.task, spec.task),
        ("label", theirs.examples.label, spec.examples.label),
        ("id", theirs.examples.id, spec.examples.id),
        ("time column", theirs.examples.time, spec.examples.time),
    ]:
        if old != new:
            raise Incomparable(f"the {role}'s {name} is {old or 'absent'}, the challenger's {new or 'absent'}")
    for name, source in theirs.sources.items():
        now = spec.sources.get(name)
        if now is None or now.path != source.path:
            other = f"reads it from {now.path}" if now else "has no such source"
            raise Incomparable(f"the {role} reads source {name} from {source.path}, the challenger {other}")
        _check_source(name, source, now, role)
    before, share = theirs.split.holdout, spec.split.holdout
    if isinstance(before, float) and isinstance(share, float) and before < share:
        raise Incomparable(
            f"the {role} held out {before:g} of the ids and the challenger {share:g}: "
            f"the {role} was trained on the rest of this holdout"
        )


def _check_source(name: str, theirs: Source, ours: Source, role: str) -> None:
    """Raises Incomparable where the snapshot, made for the challenger's spec, may lack what the reference version's SQL needs."""
    changed = [
        key
        for key in ("format", "columns", "options", "time_column", "partition_column")
        if getattr(theirs, key) != getattr(ours, key)
    ]
    if changed:
        raise Incomparable(f"the {role} reads source {name} with another {' and '.join(changed)}")
    if ours.window and (theirs.window is None or ours.window < theirs.window):
        needed = format_duration(theirs.window) if theirs.window else "all"
        raise Incomparable(
            f"the {role} needs a window of {needed} of source {name}, and the snapshot holds {format_duration(ours.window)}"
        )


def seen_until(spec: ModelSpec, reference: Version, as_of: datetime) -> datetime | None:
    """End of the reference's training rows plus the gap, where it lies inside the holdout; else None."""
    timed = time_split_of(spec)
    if timed is None:
        return None
    until = (reference.train_until or reference.as_of) + spec.split.gap
    return until if until >= spec.labels_until(as_of) - timed.holdout else None
