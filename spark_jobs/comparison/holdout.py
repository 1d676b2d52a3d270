"""The holdout scored by the challenger, and what must be true of it before anything is compared."""

from dataclasses import dataclass
from typing import NamedTuple

from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from contract.documents import RunDocument, Snapshot
from contract.errors import BadData
from contract.spec import ModelSpec
from spark_jobs.statistics.blocks import groupings_of
from spark_jobs.statistics.predictions import answer
from spark_jobs.tracking.model_versions import Version

ENOUGH = 100_000  # rows to prove the export on, and to choose golden rows from


class HoldoutFacts(NamedTuple):
    """`centre` is near the labels' mean (0 for classes): sums of squares around it lose no digits. `labels`: of several classes."""

    rows: int
    centre: float
    labels: tuple[str, ...] = ()


def score(holdout: DataFrame, challenger: Version) -> DataFrame:
    """id, time, label, features and Spark's `prediction` and `probability`; not kept, for vectors are dear to keep."""
    answers = ["prediction"] if challenger.spec.task == "regression" else ["prediction", "probability"]
    return challenger.pipeline.transform(holdout).select(*holdout.columns, *answers)


def answer_of(version: Version, centre: float) -> Column:
    """The answer on a row that this version has scored."""
    spec = version.spec
    probability = None if spec.task == "regression" else vector_to_array("probability")
    return answer(spec.task, F.col(spec.examples.label), version.labels, probability, F.col("prediction"), centre)


def hash_sample(holdout: DataFrame, id: str, rows: int) -> DataFrame:
    """About a hundred thousand of so many rows, or all: those of the lowest hashes, so that a retry takes the same."""
    if rows <= ENOUGH:
        return holdout
    return holdout.where(F.xxhash64(id) < F.lit(int(2**64 * ENOUGH / rows) - 2**63))


@dataclass(frozen=True)
class Scored:
    """What every opponent of this challenger is compared on.

    `rows`: the holdout's columns, one for each grouping into blocks, and `challenger`, its answer.
    """

    run: RunDocument
    snapshot: Snapshot
    challenger: Version
    rows: DataFrame
    facts: HoldoutFacts


def scored_by(challenger: Version, answers: DataFrame, facts: HoldoutFacts, run: RunDocument, snapshot: Snapshot) -> Scored:
    """`answers` as `score` leaves them."""
    blocks = [block.alias(name) for name, block in groupings_of(run.spec, run.as_of).items()]
    kept = [name for name in answers.columns if name not in ("prediction", "probability")]
    rows = answers.select(*kept, *blocks, answer_of(challenger, facts.centre).alias("challenger"))
    return Scored(run, snapshot, challenger, rows, facts)


def holdout_facts(holdout: DataFrame, spec: ModelSpec) -> HoldoutFacts:
    """Raises BadData for a holdout that cannot judge any model: no rows, one class."""
    label = spec.examples.label
    middle = F.avg(label) if spec.task == "regression" else F.lit(0.0)
    labels = F.collect_set(label) if spec.task == "multiclass" else F.array()
    rows, lowest, highest, centre, classes = holdout.agg(F.count("*"), F.min(label), F.max(label), middle, labels).first()
    if not rows:
        raise BadData(f"the holdout of {spec.name} has no rows: widen split.holdout or see why the sources end early")
    if spec.task != "regression" and lowest == highest:
        raise BadData(
            f"all {rows:,} holdout rows of {spec.name} have the class {lowest!r} in {label}: "
            "widen split.holdout or correct the label"
        )
    return HoldoutFacts(rows, centre, tuple(sorted(classes)))
