"""The algorithms a spec may name: which tasks each is for, and its parameters under Spark's own names."""

from typing import Literal

Task = Literal["binary", "multiclass", "regression"]
AlgorithmName = Literal[
    "logistic_regression",
    "linear_regression",
    "decision_tree_classifier",
    "decision_tree_regressor",
    "random_forest_classifier",
    "random_forest_regressor",
    "gbt_classifier",
    "gbt_regressor",
]

_LINEAR = {"maxIter": int, "regParam": float, "elasticNetParam": float, "tol": float, "fitIntercept": bool, "standardization": bool}
_TREE = {"maxDepth": int, "maxBins": int, "minInstancesPerNode": int, "minInfoGain": float}
_FOREST = {**_TREE, "numTrees": int, "subsamplingRate": float, "featureSubsetStrategy": str}
_BOOSTED = {**_TREE, "maxIter": int, "stepSize": float, "subsamplingRate": float, "featureSubsetStrategy": str}
_CLASSES: tuple[Task, ...] = ("binary", "multiclass")

TASKS: dict[AlgorithmName, tuple[Task, ...]] = {
    "logistic_regression": _CLASSES,
    "linear_regression": ("regression",),
    "decision_tree_classifier": _CLASSES,
    "decision_tree_regressor": ("regression",),
    "random_forest_classifier": _CLASSES,
    "random_forest_regressor": ("regression",),
    "gbt_classifier": ("binary",),  # Spark's boosting knows two classes only
    "gbt_regressor": ("regression",),
}
PARAMS: dict[AlgorithmName, dict[str, type]] = {
    "logistic_regression": _LINEAR,
    "linear_regression": {**_LINEAR, "solver": str},
    "decision_tree_classifier": {**_TREE, "impurity": str},
    "decision_tree_regressor": _TREE,
    "random_forest_classifier": {**_FOREST, "impurity": str},
    "random_forest_regressor": _FOREST,
    "gbt_classifier": _BOOSTED,
    "gbt_regressor": {**_BOOSTED, "lossType": str},
}

MetricName = Literal["log_loss", "brier", "auc", "accuracy", "rmse", "mae", "r2"]
METRICS: dict[Task, tuple[MetricName, ...]] = {
    "binary": ("log_loss", "brier", "auc", "accuracy"),
    "multiclass": ("log_loss", "accuracy"),
    "regression": ("rmse", "mae", "r2"),
}
LOWER_IS_BETTER: frozenset[MetricName] = frozenset({"log_loss", "brier", "rmse", "mae"})
