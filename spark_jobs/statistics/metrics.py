"""Every metric as additive sufficient statistics of rows, and a pure function from their sum to the value.

Terms are Spark columns of one model's answer (predictions.py); a NaN term makes the metric undefined, never wrong.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from pyspark.sql import Column
from pyspark.sql import functions as F

from contract.gate import Costs, Gate
from contract.metrics import Task
from spark_jobs.data.labels import Labels

Field = Callable[[str], Column]
SMALLEST = 1e-15  # probabilities are clipped to it before the logarithm
NAN = float("nan")


class Summed(NamedTuple):
    """`value` takes the row count, then the sum of each term."""

    terms: Callable[[Field], list[Column]]
    value: Callable[[np.ndarray], float]


class Ranked(NamedTuple):
    """Of the scores' order. `value` takes rows by class and bin (2 × bins, flattened), and `ties`: bins of one score only."""

    value: Callable[[np.ndarray, np.ndarray], float]


Measure = Summed | Ranked


def measures_of(names: Sequence[str], task: Task, gate: Gate, classes: Labels | None = None) -> dict[str, Measure]:
    """`classes`: the labels that metrics of several classes are averaged over."""
    known: dict[str, Measure] = {
        **{name: Summed(partial(_one_term, term), _mean) for name, term in MEANS.items()},
        **SUMMED,
        **RANKED,
        **{name: Summed(partial(_class_counts, classes=classes or []), value) for name, value in CLASS_F1.items()},
        "quantile_loss": Summed(lambda field: [_pinball(field("error"), gate.quantile)], _mean),
    }
    if gate.costs is not None:
        known["expected_cost"] = Summed(partial(_decisions, threshold=gate.threshold), partial(_cost, costs=gate.costs))
    if task == "binary":
        known |= {name: Summed(partial(_decisions, threshold=gate.threshold), value) for name, value in DECISIONS.items()}
    return {name: known[name] for name in names}


def _one_term(term: Callable[[Field], Column], field: Field) -> list[Column]:
    return [term(field)]


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else NAN


def _mean(sums: np.ndarray) -> float:
    return _ratio(sums[1], sums[0])


# Means of one term.


def _surprise(field: Field) -> Column:
    """−ln of the true class's probability. NaN is kept explicitly: Spark's least() would replace it."""
    truth = field("truth")
    clipped = F.greatest(F.lit(SMALLEST), F.least(F.lit(1 - SMALLEST), truth))
    return F.when(F.isnan(truth), truth).otherwise(-F.log(clipped))


def _relative(field: Field) -> Column:
    return F.when(field("label") == 0, F.lit(NAN)).otherwise(F.abs(field("error") / field("label")))


def _silhouette(field: Field) -> Column:
    """Simplified (Vendramin, Campello and Hruschka 2010): distances to the row's `own` and the `nearest` other centre."""
    own, nearest = field("own"), field("nearest")
    return F.when(F.greatest(own, nearest) == 0, 0.0).otherwise((nearest - own) / F.greatest(own, nearest))


def _strategy(field: Field) -> Column:
    """Return of the strategy that follows the prediction's sign; the label is the row's return."""
    predicted = field("label") + field("error")
    return F.when(F.isnan(predicted), predicted).otherwise(F.signum(predicted) * field("label"))


MEANS: dict[str, Callable[[Field], Column]] = {
    "log_loss": _surprise,
    "brier": lambda field: (1 - field("truth")) ** 2,
    "mae": lambda field: F.abs(field("error")),
    "accuracy": lambda field: field("hit"),
    "mape": _relative,
    "mean_return": _strategy,
    "silhouette": _silhouette,
    "ndcg": lambda field: field("ndcg"),
    "precision_at_k": lambda field: field("precision"),
}


def _pinball(error: Column, quantile: float) -> Column:
    """`error` is predicted − actual."""
    return F.when(F.isnan(error), error).otherwise(F.greatest(-quantile * error, (1 - quantile) * error))


# Functions of several sums.


def _explained(sums: np.ndarray) -> float:
    """1 − Σerror²/Σ(label − mean)², undefined for a constant label."""
    rows, squares, deviations, deviation_squares = sums
    spread = deviation_squares - deviations**2 / rows if rows else 0.0
    return float(1 - squares / spread) if spread > 1e-12 * deviation_squares else NAN


def _sharpe(sums: np.ndarray) -> float:
    """Mean over standard deviation, per row and not annualized; undefined where every row returns the same."""
    rows, total, squares = sums
    variance = (squares - total**2 / rows) / (rows - 1) if rows > 1 else 0.0
    return float(total / rows / np.sqrt(variance)) if variance > 1e-12 * squares / max(rows, 1) else NAN


def _perplexity(sums: np.ndarray) -> float:
    _, log_likelihood, tokens = sums
    return float(np.exp(-log_likelihood / tokens)) if tokens else NAN


SUMMED: dict[str, Summed] = {
    "rmse": Summed(lambda field: [field("error") ** 2], lambda sums: float(np.sqrt(_mean(sums)))),
    "r2": Summed(lambda field: [field("error") ** 2, field("deviation"), field("deviation") ** 2], _explained),
    "sharpe": Summed(lambda field: [_strategy(field), _strategy(field) ** 2], _sharpe),
    "perplexity": Summed(lambda field: [field("log_likelihood"), field("tokens")], _perplexity),
}


# Decisions at a threshold: true positives, false positives, false negatives.


def _decisions(field: Field, threshold: float) -> list[Column]:
    score, positive = field("score"), field("positive")
    yes = (score > threshold).cast("double")
    counts = (yes * positive, yes * (1 - positive), (1 - yes) * positive)
    return [F.when(F.isnan(score), score).otherwise(count) for count in counts]


def _balanced(sums: np.ndarray) -> float:
    rows, hits, false_alarms, misses = sums
    positives, negatives = hits + misses, rows - hits - misses
    return (_ratio(hits, positives) + _ratio(negatives - false_alarms, negatives)) / 2


DECISIONS: dict[str, Callable[[np.ndarray], float]] = {
    "accuracy": lambda sums: _ratio(sums[0] - sums[2] - sums[3], sums[0]),
    "balanced_accuracy": _balanced,
    "f1": lambda sums: _ratio(2 * sums[1], 2 * sums[1] + sums[2] + sums[3]),
    "precision": lambda sums: _ratio(sums[1], sums[1] + sums[2]),
    "recall": lambda sums: _ratio(sums[1], sums[1] + sums[3]),
}


def _cost(sums: np.ndarray, costs: Costs) -> float:
    rows, hits, false_alarms, misses = sums
    quiet = rows - hits - false_alarms - misses
    total = costs.true_positive * hits + costs.false_positive * false_alarms
    return _ratio(total + costs.false_negative * misses + costs.true_negative * quiet, rows)


# Several classes: for each class true positives, predicted rows, actual rows.


def _class_counts(field: Field, classes: Labels) -> list[Column]:
    terms = []
    for class_label in classes:
        called, is_it = (field(name) == F.lit(class_label) for name in ("predicted", "actual"))
        terms += [F.coalesce(term.cast("double"), F.lit(NAN)) for term in (called & is_it, called, is_it)]
    return terms


def _f1_by_class(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F1 and rows of each class that is actual or predicted somewhere; 0 without true positives, as in scikit-learn."""
    both, called, rows = sums[1:].reshape(-1, 3).T
    present = called + rows > 0
    return 2 * both[present] / (called + rows)[present], rows[present]


def rarest_of(sums: np.ndarray) -> int:
    """Rows of the rarest class that is present; `sums`: blocks × (rows and the counts of each class)."""
    rows = sums.sum(axis=0)[1:].reshape(-1, 3)[:, 2]
    return int(rows[rows > 0].min(initial=rows.sum()))


def _macro_f1(sums: np.ndarray) -> float:
    f1, _ = _f1_by_class(sums)
    return float(f1.mean()) if len(f1) else NAN


def _weighted_f1(sums: np.ndarray) -> float:
    f1, rows = _f1_by_class(sums)
    return _ratio(f1 @ rows, rows.sum())


CLASS_F1 = {"macro_f1": _macro_f1, "weighted_f1": _weighted_f1}


# Rankings. The last bin counts NaN scores.


def _class_histograms(histogram: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    negative, positive = histogram.reshape(2, -1).astype(float)
    defined = negative.sum() > 0 and positive.sum() > 0 and negative[-1] + positive[-1] == 0
    return (negative[:-1], positive[:-1]) if defined else None


def _area(histogram: np.ndarray, ties: np.ndarray) -> float:
    """Area under the ROC curve: share of (positive, negative) pairs in the right order; a pair in one bin counts half."""
    counts = _class_histograms(histogram)
    if counts is None:
        return NAN
    negative, positive = counts
    below = np.cumsum(negative) - negative / 2
    return float(positive @ below / (negative.sum() * positive.sum()))


def _average_precision(histogram: np.ndarray, ties: np.ndarray) -> float:
    """Precision, averaged over the positive rows. Rows of equal score share one threshold; the scores of any other bin are taken
    as evenly mixed, where precision is (a + x)/(b + c·x) after x of its positive rows (Davis and Goadrich 2006).
    """
    counts = _class_histograms(histogram)
    if counts is None:
        return NAN
    negative, positive, together = counts[0][::-1], counts[1][::-1], ties[:-1][::-1]
    rows = np.cumsum(negative + positive)
    hits = np.cumsum(positive)
    here = positive > 0
    added, a, b = positive[here], (hits - positive)[here], (rows - negative - positive)[here]
    c = 1 + negative[here] / added
    with np.errstate(divide="ignore", invalid="ignore"):
        curved = np.where(b > 0, (a * c - b) / c**2 * np.log1p(c * added / b), 0.0)
    inside = np.where(together[here], added * hits[here] / rows[here], added / c + curved)
    return float(inside.sum() / positive.sum())


RANKED = {"auc": Ranked(_area), "average_precision": Ranked(_average_precision)}
