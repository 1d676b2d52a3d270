"""A model's answer on one row as the struct that the metrics read; the same for models and baselines."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from contract.metrics import Task
from spark_jobs.data.labels import Labels, label_array, label_index


def answer(
    task: Task, label: Column, labels: Labels | None, probability: Column | None, prediction: Column, centre: float
) -> Column:
    """Classification: `truth` (probability given to the true class); for two classes `score` and `positive`, for several the
    labels `actual` and `predicted`, and `hit`. Regression: `error` (predicted − actual), `label` and its
    `deviation` from `centre`. A missing answer is NaN: a sum would skip a null.
    """
    if probability is None or labels is None:
        return F.struct(_known(prediction - label).alias("error"), label.alias("label"), (label - centre).alias("deviation"))
    index = label_index(label, labels)
    truth = F.when(index < 0, 0.0).otherwise(F.get(probability, index))  # a class unknown to the model has probability 0
    if task == "binary":
        more = [_known(F.get(probability, F.lit(1))).alias("score"), index.alias("positive")]
    else:
        called = F.get(label_array(labels), prediction.cast("int"))
        hit = _known((prediction == index).cast("double"))
        more = [label.alias("actual"), called.alias("predicted"), hit.alias("hit")]
    return F.struct(_known(truth).alias("truth"), *more)


def _known(value: Column) -> Column:
    return F.coalesce(value, F.lit(float("nan")))
