"""What a challenger is compared with: the champion on the same rows, or the trivial baseline where nothing is live yet."""

from datetime import datetime, timedelta

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from contract.documents import Snapshot
from contract.errors import BadData, RetrainingError
from contract.spec import ModelSpec
from spark_jobs.answers import answer_of
from spark_jobs.examples import build_examples
from spark_jobs.tracking import Version

LEAST_COMMON = 0.9  # of the holdout rows: fewer would say too little about the others


class Incomparable(RetrainingError):
    """No honest comparison is possible; a person may still decide."""


def with_champion(ours: DataFrame, champion: Version, snapshot: Snapshot, spec: ModelSpec, centre: float) -> DataFrame:
    """`ours` (id, label, block, challenger) joined with the champion's answers on the same ids; raises Incomparable."""
    examples = champion.spec.examples
    rows = _champion_rows(ours.sparkSession, champion, snapshot)
    wanted = ours.select(F.col(spec.examples.id).alias(examples.id))
    scored = champion.pipeline.transform(rows.join(wanted, on=examples.id, how="left_semi"))
    theirs = scored.select(
        F.col(examples.id).alias("champion_id"),
        F.col(examples.label).alias("champion_label"),
        answer_of(champion, centre).alias("opponent"),
    )
    pairs = ours.join(theirs, on=F.col(spec.examples.id) == F.col("champion_id"), how="inner").persist()
    _check_pairs(pairs, ours.count(), spec.examples.label)
    return pairs


def _champion_rows(spark: SparkSession, champion: Version, snapshot: Snapshot) -> DataFrame:
    try:
        return build_examples(spark, snapshot, champion.spec, champion.sql)
    except (BadData, AnalysisException) as error:
        reason = str(error).splitlines()[0]
        raise Incomparable(f"the champion's own feature SQL does not fit this snapshot: {reason}") from error


def _check_pairs(pairs: DataFrame, rows: int, label: str) -> None:
    other = ~F.col(label).eqNullSafe(F.col("champion_label"))
    common, ids, relabelled = pairs.agg(F.count("*"), F.count_distinct("champion_id"), F.count_if(other)).first()
    if common != ids:
        raise Incomparable(f"the champion's own feature SQL gives {common:,} rows for {ids:,} ids of the holdout")
    if common < LEAST_COMMON * rows:
        raise Incomparable(
            f"the champion's own feature SQL gives {common:,} of the {rows:,} holdout rows; at least {LEAST_COMMON:.0%} are needed"
        )
    if relabelled:
        raise Incomparable(f"{relabelled:,} of {common:,} holdout rows have another label under the champion's own feature SQL")


def check_comparable(spec: ModelSpec, champion: Version, as_of: datetime) -> None:
    """Raises Incomparable where the two answer different questions, or the champion has learned from holdout rows."""
    theirs = champion.spec
    for name, old, new in [
        ("task", theirs.task, spec.task),
        ("label", theirs.examples.label, spec.examples.label),
        ("id", theirs.examples.id, spec.examples.id),
        ("time column", theirs.examples.time, spec.examples.time),
    ]:
        if old != new:
            raise Incomparable(f"the champion's {name} is {old or 'absent'}, the challenger's {new or 'absent'}")
    for name, source in theirs.sources.items():
        now = spec.sources.get(name)
        if now is None or now.path != source.path:
            there = f"reads it from {now.path}" if now else "has no such source"
            raise Incomparable(f"the champion reads source {name} from {source.path}, the challenger {there}")
    _check_unseen(spec, champion, as_of)


def _check_unseen(spec: ModelSpec, champion: Version, as_of: datetime) -> None:
    holdout = spec.split.holdout
    if isinstance(holdout, timedelta):
        first = as_of - holdout
        newest = champion.train_until or champion.as_of
        if newest >= first - spec.split.gap:
            raise Incomparable(
                f"the champion was trained on rows until {newest:%Y-%m-%d %H:%M}, and the holdout begins {first:%Y-%m-%d %H:%M}"
                + (" after a gap" if spec.split.gap else "")
            )
    elif champion.spec.split.holdout < holdout:
        raise Incomparable(
            f"the champion kept back {champion.spec.split.holdout:g} of the ids and the challenger {holdout:g}: "
            "it has learned from the others"
        )
