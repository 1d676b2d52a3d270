"""The trivial model that a first challenger must beat: the same answer for every row, learned from the training rows."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from contract.spec import ModelSpec
from spark_jobs.answers import answer
from spark_jobs.labels import labels_of

MEDIAN_ACCURACY = 10_000  # a rank within 1/10,000 of the middle


def baseline_answer(train: DataFrame, spec: ModelSpec, centre: float) -> Column:
    """Classes: their shares among the training rows, and the commonest. Regression: the mean, or the median where mae decides."""
    label = F.col(spec.examples.label)
    if spec.task == "regression":
        middle = F.percentile_approx(label, 0.5, MEDIAN_ACCURACY) if spec.gate.metric == "mae" else F.mean(label)
        return answer(spec.task, label, None, None, F.lit(train.agg(middle).first()[0]), centre)
    labels = labels_of(train, spec)
    counts = dict(train.groupBy(label).count().collect())
    shares = [counts[each] / sum(counts.values()) for each in labels]
    prior = F.array(*map(F.lit, shares))
    return answer(spec.task, label, labels, prior, F.lit(float(shares.index(max(shares)))), centre)
