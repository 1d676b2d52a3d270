"""Plots of the diagnostic tables, as PNG files."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: a cluster's driver has no display

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from spark_jobs.tracking.diagnostics import Table

MOST_BARS = 20  # more do not fit as text


def draw(name: str, table: Table, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(5, 4), dpi=110)
    _DRAWINGS[name](axes, table)
    axes.set_title(_TITLES[name])
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def _confusion(axes: Axes, table: Table) -> None:
    labels = list(dict.fromkeys(row["label"] for row in table))
    size = len(labels)
    counts = [[row["rows"] for row in table[start : start + size]] for start in range(0, size * size, size)]
    axes.imshow(counts, cmap="Blues")
    if size <= 12:  # more do not fit as text
        darkest = max(map(max, counts))
        for i, row in enumerate(counts):
            for j, count in enumerate(row):
                axes.text(j, i, f"{count:,}", ha="center", va="center", color="white" if count > darkest / 2 else "black")
        axes.set_xticks(range(size), labels)
        axes.set_yticks(range(size), labels)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("actual class")


def _calibration(axes: Axes, table: Table) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.plot([row["predicted"] for row in table], [row["observed"] for row in table], marker="o")
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("observed frequency")


def _residuals(axes: Axes, table: Table) -> None:
    lows = [row["low"] for row in table]
    axes.bar(lows, [row["rows"] for row in table], width=table[0]["high"] - table[0]["low"], align="edge")
    axes.set_xlabel("residual (predicted − actual)")
    axes.set_ylabel("rows")


def _predicted_actual(axes: Axes, table: Table) -> None:
    predicted, actual = [row["predicted"] for row in table], [row["actual"] for row in table]
    ends = [min(predicted + actual), max(predicted + actual)]
    axes.plot(ends, ends, color="grey", linewidth=1)
    axes.plot(predicted, actual, marker="o")
    axes.set_xlabel("mean predicted value")
    axes.set_ylabel("mean actual value")


def _importance(axes: Axes, table: Table) -> None:
    shown = table[:MOST_BARS][::-1]
    axes.barh([row["feature"] for row in shown], [row["share"] for row in shown])
    axes.set_xlabel("share of the trees' gain")


_TITLES = {
    "importance": "Feature importance",
    "confusion": "Confusion matrix",
    "calibration": "Reliability diagram",
    "residuals": "Residuals",
    "predicted_actual": "Predicted and actual values",
}
_DRAWINGS: dict[str, Callable[[Axes, Table], None]] = {
    "importance": _importance,
    "confusion": _confusion,
    "calibration": _calibration,
    "residuals": _residuals,
    "predicted_actual": _predicted_actual,
}
