"""The holdout scored by the challenger, and what must be true of it before anything is compared."""

from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from contract.errors import BadData
from contract.spec import ModelSpec
from spark_jobs.tracking import Version


class Facts(NamedTuple):
    """`centre` is near the labels' mean (0 for classes): sums of squares around it lose no digits."""

    rows: int
    centre: float


def score(holdout: DataFrame, challenger: Version) -> DataFrame:
    """id, time, label, features and Spark's `prediction` and `probability`, kept: several passes follow."""
    answers = ["prediction"] if challenger.spec.task == "regression" else ["prediction", "probability"]
    return challenger.pipeline.transform(holdout).select(*holdout.columns, *answers).persist()


def look_at(scored: DataFrame, spec: ModelSpec) -> Facts:
    """Raises BadData for a holdout that cannot judge any model: no rows, one class, an id that names several rows."""
    label = spec.examples.label
    middle = F.avg(label) if spec.task == "regression" else F.lit(0.0)
    rows, lowest, highest, centre = scored.agg(F.count("*"), F.min(label), F.max(label), middle).first()
    if not rows:
        raise BadData(f"the holdout of {spec.name} has no rows: widen split.holdout or see why the sources end early")
    if spec.task != "regression" and lowest == highest:
        raise BadData(
            f"all {rows:,} holdout rows of {spec.name} have the class {lowest!r} in {label}: "
            "widen split.holdout or correct the label"
        )
    _check_ids(scored, spec.examples.id)
    return Facts(rows, centre)


def _check_ids(scored: DataFrame, id: str) -> None:
    repeated = scored.groupBy(id).agg(F.count("*").alias("rows")).where("rows > 1")
    ids, example = repeated.agg(F.count("*"), F.min(id)).first()
    if ids:
        raise BadData(
            f"{id} is not unique: {ids:,} of its values name several holdout rows, such as {example!r}; "
            "correct examples.id or the SQL"
        )
