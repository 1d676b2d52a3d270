"""The verdict as a self-contained HTML page, from the documents that the verdict is based on."""

from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from contract.comparison import Comparison, Curves, Interval, MetricResult, ReferenceComparison, SliceResult, Verdict
from contract.documents import RunDocument
from contract.gate import Gate, Slices
from plugins.retraining.decision.evaluation_budget import Evaluation
from plugins.retraining.decision.gate import bar_of, judge_guard, reference_text
from plugins.retraining.decision.svg_charts import Line, chart, strip

TEMPLATES = Path(__file__).parent / "templates"
SIDES: tuple[Literal["challenger", "reference"], ...] = ("challenger", "reference")


class Row(NamedTuple):
    """One row of a table; `strip`: its interval as SVG."""

    name: str
    challenger: str
    reference: str
    rows: str
    strip: Markup
    interval: str


def verdict_page(run: RunDocument, version: int, comparison: Comparison, evaluation: Evaluation, verdict: Verdict) -> str:
    gate, first = run.spec.gate, comparison.comparisons[0]
    guards = [] if first.incomparable else [judge_guard(guard, comparison).sentence for guard in gate.guards]
    answered = f", {'approved' if verdict.goes_on else 'not approved'}" if verdict.approval else ""
    return _template().render(
        run=run,
        version=version,
        comparison=comparison,
        evaluation=evaluation,
        verdict=verdict,
        outcome=f"{verdict.decision}{answered}",
        guards=guards,
        folds=[{"name": metric, "interval": _interval_text(interval, sign="")} for metric, interval in comparison.folds.items()],
        recipe=comparison.recipe,
        recipe_row=_metric_row(comparison.recipe.result, None) if comparison.recipe and comparison.recipe.result else None,
        parts=[_part(compared, gate) for compared in comparison.comparisons],
        shape=_shape(first),
    )


@cache
def _template() -> Template:
    loader = FileSystemLoader(TEMPLATES)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True).get_template("verdict.html")


def _part(compared: ReferenceComparison, gate: Gate) -> dict[str, Any]:
    bar = None if compared.incomparable else bar_of(compared, gate).height
    return {
        "compared": compared,
        "title": reference_text(compared),
        "metric": gate.metric,
        "rows": [_metric_row(result, bar if index == 0 else None) for index, result in enumerate(compared.metrics)],
        "columns": " and ".join(gate.slices.columns) if gate.slices else "",
        "slices": _slice_rows(compared.slices, gate.slices),
        "slices_note": _slices_note(gate),
        "charts": _charts([compared.curves[side] for side in SIDES if side in compared.curves]),
    }


def _metric_row(result: MetricResult, bar: float | None) -> Row:
    improvement = result.improvement
    challenger, reference = (number_text(side.value) for side in (result.challenger, result.reference))
    return Row(result.metric, challenger, reference, "", *_strip_and_text(improvement, bar, _reach([improvement], bar)))


def _slice_rows(slices: tuple[SliceResult, ...], judged_by: Slices | None) -> list[Row]:
    """All on one scale, because they are of one metric."""
    if judged_by is None:
        return []
    bar = -judged_by.margin
    reach = _reach([result.improvement for result in slices], bar)
    return [
        Row(slice_name(result), "", "", f"{result.rows:,} rows", *_strip_and_text(result.improvement, bar, reach))
        for result in slices
    ]


def slice_name(result: SliceResult) -> str:
    value = f"{result.pooled:,} small values pooled" if result.pooled else "null" if result.value is None else result.value
    return f"{result.column}: {value}"


def _slices_note(gate: Gate) -> str:
    if gate.slices is None:
        return ""
    if gate.slices.require == "shown_not_worse":
        return "Each interval must lie right of the dashed line."
    return (
        "A slice whose whole interval lies left of the dashed line, after correction for their number, vetoes. "
        "That protects against significant harm only: a small slice may be worse without being significant."
    )


def _strip_and_text(interval: Interval, bar: float | None, reach: tuple[float, float]) -> tuple[Markup, str]:
    if interval.low is None or interval.high is None or interval.value is None:
        return Markup(""), interval.why or "unknown"
    return strip(interval.low, interval.value, interval.high, bar, reach), _interval_text(interval, sign="+")


def _interval_text(interval: Interval, sign: str) -> str:
    if interval.low is None or interval.high is None or interval.value is None:
        return interval.why or "unknown"
    low, value, high = (f"{number:{sign}.3g}" for number in (interval.low, interval.value, interval.high))
    return f"{value} ({100 - 200 * interval.level:.4g} %: {low} to {high})"


def _reach(intervals: list[Interval], bar: float | None) -> tuple[float, float]:
    ends = [end for interval in intervals for end in (interval.low, interval.high) if end is not None]
    ends += [0.0, *([] if bar is None else [bar])]
    return min(ends), max(ends)


def _charts(sides: list[Curves]) -> list[Markup]:
    """Of the challenger and, if it has curves, the reference model."""
    charts = []
    if sides and all(side.calibration for side in sides):
        errors = " and ".join(f"{side.calibration_error:.3f}" for side in sides)
        lines = [
            Line(str(n), [(predicted, observed) for predicted, observed, _ in side.calibration]) for n, side in enumerate(sides)
        ]
        charts.append(
            chart(f"Reliability diagram; mean error {errors}", "predicted probability", "observed frequency", lines, diagonal=True)
        )
        lines = [Line(str(n), [(0, 0), *((fpr, tpr) for fpr, tpr, _ in side.ranking)]) for n, side in enumerate(sides)]
        charts.append(chart("ROC curve", "false positive rate", "true positive rate", lines, diagonal=True))
        lines = [Line(str(n), [(recall, precision) for _, recall, precision in side.ranking]) for n, side in enumerate(sides)]
        charts.append(chart("Precision-recall curve", "recall", "precision", lines))
    if sides and all(side.residuals for side in sides):
        lines = [Line(str(n), [((low + high) / 2, rows) for low, high, rows in side.residuals]) for n, side in enumerate(sides)]
        charts.append(chart("Residuals", "residual = predicted − actual", "rows", lines))
    return charts


def _shape(compared: ReferenceComparison) -> str:
    interval = compared.metrics[0].improvement if compared.metrics else None
    if interval is None or interval.skewness is None:
        return "their distribution is unknown here."
    lag = f"neighbouring blocks have a correlation of {interval.lag1:+.2f}, and " if interval.lag1 is not None else ""
    return f"here there are {interval.blocks}; {lag}their values have a skewness of {interval.skewness:+.2f}."


def number_text(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
