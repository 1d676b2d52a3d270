"""Training rows collected into the driver's process, where they fit: there XGBoost needs a fraction of the executors' time."""

from typing import Any, NamedTuple

import numpy as np
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from contract.algorithms import is_xgboost
from contract.documents import FittedIn
from contract.spark import Memory, megabytes
from contract.spec import ModelSpec
from spark_jobs.training.features import FEATURES

BYTES = 4  # of one feature of one row: XGBoost computes in single precision


class Matrix(NamedTuple):
    """`features`: float32[N, k], dense, NaN where missing; `labels`: float64[N]."""

    features: np.ndarray
    labels: np.ndarray


def fitted_in(spec: ModelSpec, rows: int, features: int, limit: Memory) -> FittedIn:
    """By the size of the matrices that a search holds at once, and nothing else, so that a retry fits in the same place."""
    matrices = spec.split.folds or 1
    fits = rows * features * BYTES * matrices <= megabytes(limit) * 2**20
    return "driver" if is_xgboost(spec.algorithm.name) and fits else "executors"


def gathered(rows: DataFrame, label: str, where: FittedIn) -> DataFrame | Matrix:
    """`rows` as `fit` takes them to fit there."""
    return collect(rows, label) if where == "driver" else rows


def collect(rows: DataFrame, label: str) -> Matrix:
    features = vector_to_array(F.col(FEATURES), "float32")  # dense: XGBoost takes a sparse vector's zeros for missing
    frame: Any = rows.select(features.alias(FEATURES), label).toPandas()  # pandas has no type hints here
    return Matrix(np.stack(frame[FEATURES].to_list()), frame[label].to_numpy(dtype=np.float64))
