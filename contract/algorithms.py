"""The algorithms a spec may name: which tasks each is for, and its parameters under Spark's or XGBoost's own names."""

import difflib
from collections.abc import Mapping
from math import prod
from typing import Literal, Self

from pydantic import model_validator

from contract.base_model import Scalar, Strict, without_problems, written
from contract.metrics import Task
from contract.search import Distribution, Search

AlgorithmName = Literal[
    "logistic_regression",
    "linear_regression",
    "decision_tree_classifier",
    "decision_tree_regressor",
    "random_forest_classifier",
    "random_forest_regressor",
    "gbt_classifier",
    "gbt_regressor",
    "xgboost_classifier",
    "xgboost_regressor",
]
Kind = type | range | tuple[str, ...]  # of a parameter's value: a type, or the numbers or texts that it may be
_LINEAR = {"maxIter": int, "regParam": float, "elasticNetParam": float, "tol": float, "fitIntercept": bool, "standardization": bool}
_TREE = {"maxDepth": int, "maxBins": int, "minInstancesPerNode": int, "minInfoGain": float}
_FOREST = {**_TREE, "numTrees": int, "subsamplingRate": float, "featureSubsetStrategy": str}
_BOOSTED = {**_TREE, "maxIter": int, "stepSize": float, "subsamplingRate": float, "featureSubsetStrategy": str}
_XGBOOST: dict[str, Kind] = {
    "n_estimators": range(1, 100_001),
    "learning_rate": float,
    "max_depth": int,
    "max_leaves": int,
    "max_bin": int,
    "min_child_weight": float,
    "gamma": float,
    "reg_alpha": float,
    "reg_lambda": float,
    "subsample": float,
    "colsample_bytree": float,
    "colsample_bylevel": float,
    "colsample_bynode": float,
    "grow_policy": ("depthwise", "lossguide"),
    "booster": ("gbtree",),  # the exporter's; dart and gblinear predict by other rules
}
_CLASSES: tuple[Task, ...] = ("binary", "multiclass")

TASKS: dict[AlgorithmName, tuple[Task, ...]] = {
    "logistic_regression": _CLASSES,
    "linear_regression": ("regression",),
    "decision_tree_classifier": _CLASSES,
    "decision_tree_regressor": ("regression",),
    "random_forest_classifier": _CLASSES,
    "random_forest_regressor": ("regression",),
    "gbt_classifier": ("binary",),  # Spark's gradient boosting is binary only
    "gbt_regressor": ("regression",),
    "xgboost_classifier": _CLASSES,
    "xgboost_regressor": ("regression",),
}
PARAMS: dict[AlgorithmName, Mapping[str, Kind]] = {
    "logistic_regression": _LINEAR,
    "linear_regression": {**_LINEAR, "solver": str},
    "decision_tree_classifier": {**_TREE, "impurity": str},
    "decision_tree_regressor": _TREE,
    "random_forest_classifier": {**_FOREST, "impurity": str},
    "random_forest_regressor": _FOREST,
    "gbt_classifier": _BOOSTED,
    "gbt_regressor": {**_BOOSTED, "lossType": str},
    "xgboost_classifier": _XGBOOST,
    "xgboost_regressor": {**_XGBOOST, "objective": ("reg:squarederror", "reg:absoluteerror")},  # a prediction is its margin
}


def is_xgboost(name: AlgorithmName) -> bool:
    return name.startswith("xgboost_")


def length_of(name: AlgorithmName) -> str | None:
    """The parameter with the number of trees; None where the algorithm does not boost."""
    return "n_estimators" if is_xgboost(name) else "maxIter" if name.startswith("gbt_") else None


def parity_tolerance(name: AlgorithmName) -> float:
    """How far ONNX may be from Spark, in parts of max(1, |Spark's number|): XGBoost computes in single precision."""
    return 2e-7 if is_xgboost(name) else 1e-9


class Algorithm(Strict):
    name: AlgorithmName
    params: dict[str, Scalar] = {}
    search: Search | None = None

    @model_validator(mode="after")
    def _known_params(self) -> Self:
        problems = [problem for name, value in self.params.items() for problem in self._param_problems("params", name, (value,))]
        return without_problems(self, problems + (self._search_problems(self.search) if self.search else []))

    def _search_problems(self, search: Search) -> list[str]:
        key, space = f"search.{search.method}", search.space
        problems = [problem for name, values in space.items() for problem in self._param_problems(key, name, values)]
        problems += [f"params.{name}: is in {key}, too" for name in self.params if name in space]
        if search.early_stopping_rounds:
            problems += [] if is_xgboost(self.name) else [f"search.early_stopping_rounds: is for XGBoost, not for {self.name}"]
            problems += [f"{key}.n_estimators: early_stopping_rounds chooses it"] if "n_estimators" in space else []
        return problems + self._grid_problems(search)

    def _grid_problems(self, search: Search) -> list[str]:
        fits = prod(len(values) for name, values in search.grid.items() if name != length_of(self.name))
        most = search.max_candidates
        if not most or search.method != "grid" or fits <= most:
            return []
        return [f"search.grid: has {fits:,} candidates, more than max_candidates ({most:,}); remove values, or write random"]

    def _param_problems(self, key: str, name: str, values: tuple[Scalar, ...] | Distribution) -> list[str]:
        known = PARAMS[self.name]
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
            return [f"{key}.{name}: {self.name} has no such parameter ({hint})"]
        if not values:
            return [f"{key}.{name}: must not be empty"]
        kind = known[name]
        if isinstance(values, Distribution):
            return _distribution_problems(f"{key}.{name}", kind, values)
        return [f"{key}.{name}: must be {_described(kind)} (is {written(value)})" for value in values if not _fits(value, kind)]


def _distribution_problems(key: str, kind: Kind, values: Distribution) -> list[str]:
    if kind not in (int, float) and not isinstance(kind, range):
        return [f"{key}: has no distribution; write a list of its values, each {_described(kind)}"]
    ends = {"low": values.low, "high": values.high}
    return [
        f"{key}.{end}: must be {_described(kind)} (is {written(value)})" for end, value in ends.items() if not _fits(value, kind)
    ]


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _described(kind: Kind) -> str:
    if isinstance(kind, range):
        return f"a whole number from {kind[0]:,} to {kind[-1]:,}"
    return " or ".join(kind) if isinstance(kind, tuple) else _KINDS[kind]


def _fits(value: Scalar, kind: Kind) -> bool:
    if isinstance(kind, range | tuple):
        return value in kind and not isinstance(value, bool | float)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind
