"""The holdout scored by the challenger, and the facts checked before anything is compared."""

from dataclasses import dataclass
from typing import NamedTuple

from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from contract.documents import RunDocument, Snapshot
from contract.errors import BadData
from contract.spec import ModelSpec
from spark_jobs.export.parity import ROWS as PROVEN
from spark_jobs.runtime.spark_api import first_row
from spark_jobs.statistics.blocks import groupings_of
from spark_jobs.statistics.predictions import answer
from spark_jobs.tracking.model_versions import Version

ENOUGH = 100_000  # rows for the choice of golden rows, of which the parity proof takes the first
CELLS = 10_000_000  # at most that many values of them in the driver's Python, of very wide tables only the proof's rows


class HoldoutFacts(NamedTuple):
    """`centre`: about the labels' mean (0 for classes), for precise sums of squares. `labels`: of several classes only."""

    rows: int
    centre: float
    labels: tuple[str, ...] = ()


def score(holdout: DataFrame, challenger: Version) -> DataFrame:
    """id, time, label, features and Spark's `prediction` and `probability`; not cached, as vectors are expensive to cache."""
    answers = ["prediction"] if challenger.spec.task == "regression" else ["prediction", "probability"]
    return challenger.pipeline.transform(holdout).select(*holdout.columns, *answers)


def answer_of(version: Version, centre: float) -> Column:
    """The answer struct (predictions.py) of a row that this version has scored."""
    spec = version.spec
    probability = None if spec.task == "regression" else vector_to_array(F.col("probability"))
    return answer(spec.task, F.col(spec.examples.label), version.labels, probability, F.col("prediction"), centre)


def sample_size(challenger: Version) -> int:
    examples = challenger.spec.examples
    columns = len(examples.numeric) + len(examples.categorical) + len(challenger.labels or ())
    return min(ENOUGH, max(PROVEN, CELLS // columns))


def hash_sample(holdout: DataFrame, id: str, rows: int, enough: int) -> DataFrame:
    """About `enough` of `rows` rows: those with the lowest id hashes, so that a retry takes the same; all where there are fewer."""
    if rows <= enough:
        return holdout
    return holdout.where(F.xxhash64(id) < F.lit(int(2**64 * enough / rows) - 2**63))


@dataclass(frozen=True)
class Scored:
    """The rows on which the challenger is compared with every reference model.

    `rows`: the holdout's columns, one column per grouping into blocks, and the answer struct `challenger`.
    """

    run: RunDocument
    snapshot: Snapshot
    challenger: Version
    rows: DataFrame
    facts: HoldoutFacts


def scored_by(challenger: Version, answers: DataFrame, facts: HoldoutFacts, run: RunDocument, snapshot: Snapshot) -> Scored:
    """`answers`: the output of `score`."""
    blocks = [block.alias(name) for name, block in groupings_of(run.spec, run.as_of).items()]
    kept = [name for name in answers.columns if name not in ("prediction", "probability")]
    rows = answers.select(*kept, *blocks, answer_of(challenger, facts.centre).alias("challenger"))
    return Scored(run, snapshot, challenger, rows, facts)


def holdout_facts(holdout: DataFrame, spec: ModelSpec) -> HoldoutFacts:
    """Raises BadData for a holdout on which no model can be compared: no rows, or one class only."""
    label = spec.examples.label
    middle = F.avg(label) if spec.task == "regression" else F.lit(0.0)
    labels = F.collect_set(label) if spec.task == "multiclass" else F.array()
    summary = holdout.agg(F.count("*"), F.min(label), F.max(label), middle, labels)
    rows, lowest, highest, centre, classes = first_row(summary)
    if not rows:
        raise BadData(f"the holdout of {spec.name} has no rows: widen split.holdout, or check why the sources end early")
    if spec.task != "regression" and lowest == highest:
        raise BadData(
            f"all {rows:,} holdout rows of {spec.name} have the class {lowest!r} in {label}: "
            "widen split.holdout or correct the label"
        )
    return HoldoutFacts(rows, centre, tuple(sorted(classes)))
