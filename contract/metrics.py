"""The metrics that a gate may name, by task, and which way each is better."""

from typing import Literal

Task = Literal["binary", "multiclass", "regression"]
MetricName = Literal[
    "log_loss",
    "brier",
    "auc",
    "average_precision",
    "accuracy",
    "balanced_accuracy",
    "f1",
    "precision",
    "recall",
    "expected_cost",
    "macro_f1",
    "weighted_f1",
    "rmse",
    "mae",
    "mape",
    "r2",
    "quantile_loss",
    "mean_return",
    "sharpe",
]
METRICS: dict[Task, tuple[MetricName, ...]] = {
    "binary": (
        *("log_loss", "brier", "auc", "average_precision", "accuracy", "balanced_accuracy"),
        *("f1", "precision", "recall", "expected_cost"),
    ),
    "multiclass": ("log_loss", "accuracy", "macro_f1", "weighted_f1"),
    "regression": ("rmse", "mae", "r2", "mape", "quantile_loss", "mean_return", "sharpe"),
}
# Measured only where a gate names them: they need its costs or quantile, or make sense for few labels only.
ON_DEMAND: frozenset[MetricName] = frozenset({"expected_cost", "mape", "quantile_loss", "mean_return", "sharpe"})
LOWER_IS_BETTER: frozenset[MetricName] = frozenset({"log_loss", "brier", "expected_cost", "rmse", "mae", "mape", "quantile_loss"})
