"""The verdict as one page for people: self-contained HTML, made of the documents that the verdict was made of."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from contract.comparison import Comparison, Curves, Interval, ReferenceComparison, SliceResult, Verdict
from contract.documents import RunDocument
from contract.gate import Gate
from plugins.retraining.decision.evaluation_budget import Evaluation
from plugins.retraining.decision.gate import bar_of, judge_guard, named
from plugins.retraining.decision.svg_charts import Line, chart, strip

TEMPLATES = Path(__file__).parent / "templates"
SIDES = ("challenger", "reference")


class Row(NamedTuple):
    """One line of a table; `strip` is its interval as a picture."""

    name: str
    challenger: str
    reference: str
    rows: str
    strip: Markup
    told: str


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
        folds=[{"name": metric, "told": _told(found, sign="")} for metric, found in comparison.folds.items()],
        recipe=comparison.recipe,
        recipe_row=_metric_row(comparison.recipe.result, None) if comparison.recipe and comparison.recipe.result else None,
        parts=[_part(compared, gate) for compared in comparison.comparisons],
        shape=_shape(first),
    )


@cache
def _template() -> Template:
    place = FileSystemLoader(TEMPLATES)
    return Environment(loader=place, autoescape=True, undefined=StrictUndefined, trim_blocks=True).get_template("verdict.html")


def _part(compared: ReferenceComparison, gate: Gate) -> dict[str, Any]:
    bar = None if compared.incomparable else bar_of(compared, gate).height
    return {
        "compared": compared,
        "title": named(compared),
        "metric": gate.metric,
        "rows": [_metric_row(result, bar if place == 0 else None) for place, result in enumerate(compared.metrics)],
        "columns": " and ".join(gate.slices.columns) if gate.slices else "",
        "slices": _slice_rows(compared.slices, gate),
        "slices_told": _slices_told(gate),
        "charts": _charts(compared.curves),
    }


def _metric_row(result: Any, bar: float | None) -> Row:
    found = result.improvement
    sides = (number_told(side.value) for side in (result.challenger, result.reference))
    return Row(result.metric, *sides, "", *_picture(found, bar, _reach([found], bar)))


def _slice_rows(slices: tuple[SliceResult, ...], gate: Gate) -> list[Row]:
    """All on one scale, for they are of one metric."""
    if not slices:
        return []
    bar = -gate.slices.margin
    reach = _reach([each.improvement for each in slices], bar)
    return [Row(slice_name(each), "", "", f"{each.rows:,} rows", *_picture(each.improvement, bar, reach)) for each in slices]


def slice_name(found: SliceResult) -> str:
    value = f"{found.pooled:,} small values together" if found.pooled else "null" if found.value is None else found.value
    return f"{found.column}: {value}"


def _slices_told(gate: Gate) -> str:
    if gate.slices is None:
        return ""
    if gate.slices.require == "shown_not_worse":
        return "Each interval must lie right of the dashed line."
    return (
        "A slice whose whole interval lies left of the dashed line, after correction for their number, vetoes. "
        "That protects against shown harm only: a small slice may be worse without showing it."
    )


def _picture(found: Interval, bar: float | None, reach: tuple[float, float]) -> tuple[Markup, str]:
    if found.low is None or found.high is None or found.value is None:
        return Markup(""), found.why or "unknown"
    return strip(found.low, found.value, found.high, bar, reach), _told(found, sign="+")


def _told(found: Interval, sign: str) -> str:
    if found.low is None or found.high is None or found.value is None:
        return found.why or "unknown"
    low, value, high = (f"{number:{sign}.3g}" for number in (found.low, found.value, found.high))
    return f"{value} ({100 - 200 * found.level:.4g} %: {low} to {high})"


def _reach(intervals: list[Interval], bar: float | None) -> tuple[float, float]:
    ends = [end for each in intervals for end in (each.low, each.high) if end is not None]
    ends += [0.0, *([] if bar is None else [bar])]
    return min(ends), max(ends)


def _charts(curves: dict[str, Curves]) -> list[Markup]:
    sides = [curves[side] for side in SIDES if side in curves]
    found = []
    if sides and all(side.calibration for side in sides):
        errors = " and ".join(f"{side.calibration_error:.3f}" for side in sides)
        lines = [Line(str(n), [(said, seen) for said, seen, _ in side.calibration]) for n, side in enumerate(sides)]
        found.append(chart(f"Calibration; mean error {errors}", "said", "came true", lines, diagonal=True))
        lines = [Line(str(n), [(0, 0), *((wrong, right) for wrong, right, _ in side.ranking)]) for n, side in enumerate(sides)]
        found.append(chart("ROC", "false positive rate", "true positive rate", lines, diagonal=True))
        lines = [Line(str(n), [(right, sure) for _, right, sure in side.ranking]) for n, side in enumerate(sides)]
        found.append(chart("Precision and recall", "recall", "precision", lines))
    if sides and all(side.residuals for side in sides):
        lines = [Line(str(n), [((low + high) / 2, rows) for low, high, rows in side.residuals]) for n, side in enumerate(sides)]
        found.append(chart("Residuals", "predicted − actual", "rows", lines))
    return found


def _shape(compared: ReferenceComparison) -> str:
    found = compared.metrics[0].improvement if compared.metrics else None
    if found is None or found.skewness is None:
        return "their shape is unknown here."
    lag = f"neighbouring blocks are correlated {found.lag1:+.2f}, and " if found.lag1 is not None else ""
    return f"here there are {found.blocks}; {lag}their values have a skewness of {found.skewness:+.2f}."


def number_told(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
