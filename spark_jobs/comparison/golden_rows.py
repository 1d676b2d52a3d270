"""Golden rows: holdout rows with Spark's predictions, which every image must reproduce before it gets traffic."""

import numpy as np
import pandas as pd
from pyspark.ml import PipelineModel
from pyspark.ml.feature import StringIndexerModel

from contract.algorithms import parity_tolerance
from contract.documents import GoldenRows
from contract.errors import BadData
from contract.spec import ModelSpec

ROWS = 50
ODD_ROWS = 5  # of each kind: with a null, with an unseen category
BINS = ROWS - 2 * ODD_ROWS


def choose_golden_rows(answers: pd.DataFrame, spec: ModelSpec, pipeline: PipelineModel) -> GoldenRows:
    """Up to 50 rows: a few with nulls, a few with unseen categories, the others spread over the range of predictions.

    `answers`: the output of collect_answers. Each kind's first are taken, so that a retry chooses the same.
    """
    columns = [*spec.examples.numeric, *spec.examples.categorical]
    expected = _expected(answers, spec)
    finite = np.isfinite(expected).all(axis=1) & ~np.isinf(answers[[*spec.examples.numeric]]).any(axis=1).to_numpy()
    if not finite.any():
        raise BadData(
            f"none of {len(finite):,} holdout rows of {spec.name} can be a golden row: JSON holds no infinity, and in each "
            "a feature or the prediction is infinite or no number; correct the feature SQL, or the data"
        )
    rows, expected = answers.loc[finite, columns], expected[finite]
    odd = [*_first(rows.isna().any(axis=1), ODD_ROWS), *_first(_unseen(rows, pipeline), ODD_ROWS)]
    kept = list(dict.fromkeys([*odd, *_spread(_score(expected, spec)), *range(len(rows))]))[:ROWS]
    values = rows.iloc[kept].astype(object)
    return GoldenRows(
        columns=tuple(columns),
        rows=tuple(values.where(values.notna(), None).itertuples(index=False, name=None)),
        expected=tuple(map(tuple, expected[kept].tolist())),
        tolerance=parity_tolerance(spec.algorithm.name),
    )


def _expected(answers: pd.DataFrame, spec: ModelSpec) -> np.ndarray:
    """rows × classes, or rows × 1 for regression"""
    numbers = answers["prediction"].to_numpy()[:, np.newaxis] if spec.task == "regression" else answers["probability"].to_list()
    return np.array(numbers, dtype=float)


def _score(expected: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """The predicted number, or the probability of the positive or best class."""
    score: np.ndarray = expected[:, 1] if spec.task == "binary" else expected.max(axis=1)
    return score


def _unseen(rows: pd.DataFrame, pipeline: PipelineModel) -> pd.Series:
    """True where any category of the row is unknown to the fitted StringIndexer."""
    unseen = pd.Series(False, index=rows.index)
    for stage in pipeline.stages:
        if isinstance(stage, StringIndexerModel):
            for name, labels in zip(stage.getInputCols(), stage.labelsArray, strict=True):
                unseen |= rows[name].notna() & ~rows[name].isin(labels)
    return unseen


def _first(chosen: pd.Series, count: int) -> list[int]:
    positions: list[int] = np.flatnonzero(chosen)[:count].tolist()
    return positions


def _spread(scores: np.ndarray) -> list[int]:
    """The first row of each of BINS equal parts of the score's range, where the part has any."""
    low, high = scores.min(), scores.max()
    part = np.minimum((scores - low) / ((high - low) or 1.0) * BINS, BINS - 1).astype(int)
    first: list[int] = np.unique(part, return_index=True)[1].tolist()
    return first
