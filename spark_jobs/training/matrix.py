"""Training rows collected into the driver's process, where they fit."""

from typing import Any, NamedTuple

import numpy as np
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_jobs.training.features import FEATURES

BYTES = 4  # of one feature of one row: XGBoost computes in single precision


class Matrix(NamedTuple):
    """`features`: float32[N, k], dense, NaN where missing; `labels`: float64[N]."""

    features: np.ndarray
    labels: np.ndarray


def collect(rows: DataFrame, label: str) -> Matrix:
    features = vector_to_array(F.col(FEATURES), "float32")  # dense: XGBoost takes a sparse vector's zeros for missing
    frame: Any = rows.select(features.alias(FEATURES), label).toPandas()  # pandas has no type hints here
    return Matrix(np.stack(frame[FEATURES].to_list()), frame[label].to_numpy(dtype=np.float64))
