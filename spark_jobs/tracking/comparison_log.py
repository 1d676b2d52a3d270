"""Logs the comparison to the challenger's MLflow run."""

from time import time

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from contract.comparison import Comparison, Interval
from spark_jobs.tracking.mlflow_runs import TrackingFailed


def log_comparison(mlflow_run: str, comparison: Comparison) -> None:
    """Metrics `compare.<metric>.…` and the document as `comparison.json`; idempotent under retries. Raises TrackingFailed."""
    now_ms = int(time() * 1000)
    metrics = [Metric(name, number, now_ms, 0) for name, number in numbers_of(comparison).items()]
    try:
        client = MlflowClient()
        client.log_batch(mlflow_run, metrics=metrics)
        client.log_dict(mlflow_run, comparison.model_dump(mode="json"), "comparison.json")
    except MlflowException as error:
        reason = str(error).splitlines()[0]
        raise TrackingFailed(
            f"the comparison was not logged to MLflow run {mlflow_run} ({reason}); clear this task once MLflow answers"
        ) from error


def numbers_of(comparison: Comparison) -> dict[str, float]:
    """All defined values and bounds by MLflow metric name."""
    numbers: dict[str, float | None] = {}
    for compared in comparison.comparisons:
        prefix = ".anchor" if compared.reference == "anchor" else ""
        for result in compared.metrics:
            for side in ("challenger", "reference", "improvement"):
                interval: Interval = getattr(result, side)
                name = f"compare{prefix}.{result.metric}.{side}"
                numbers |= {name: interval.value, f"{name}.low": interval.low, f"{name}.high": interval.high}
    return {name: number for name, number in numbers.items() if number is not None}
