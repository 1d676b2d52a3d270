"""How much each of the spec's columns has to do with what a model of trees answers."""

from typing import Any

from pyspark.ml import PipelineModel, Transformer

from contract.spec import ModelSpec
from spark_jobs.training.features import columns_of
from spark_jobs.training.xgboost_models import XGBoostModel


def importance_of(pipeline: PipelineModel, spec: ModelSpec) -> dict[str, float]:
    """Shares by column, those of its levels added up, the largest first; empty for a model without trees.

    XGBoost's is of the total gain of all splits; Spark's own is the mean over its trees of such shares.
    """
    gains = _gains(pipeline.stages[-1])
    shares = dict.fromkeys((*spec.examples.numeric, *spec.examples.categorical), 0.0)
    for feature, column in enumerate(columns_of(pipeline, spec)):
        shares[column] += gains.get(feature, 0.0)
    total = sum(shares.values())
    largest_first = sorted(shares, key=shares.__getitem__, reverse=True)
    return {column: shares[column] / total for column in largest_first} if total else {}


def _gains(model: Transformer) -> dict[int, float]:
    """By feature; those without a split may be missing."""
    if isinstance(model, XGBoostModel):
        gains: dict[str, Any] = model.get_booster().get_score(importance_type="total_gain")
        return {int(name.removeprefix("f")): gain for name, gain in gains.items()}
    vector: Any = getattr(model, "featureImportances", None)
    return {} if vector is None else dict(enumerate(vector.toArray().tolist()))
