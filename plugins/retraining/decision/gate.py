"""The gate: a pure function from a comparison and the spec's gate to a verdict with its reason.

Unknown means no promotion. A «keep» outweighs an «inconclusive», which outweighs a «promote».
"""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from math import floor, isfinite, log10
from typing import Literal, NamedTuple

from contract.comparison import Comparison, Interval, MetricResult, ReferenceComparison, SliceResult, Verdict
from contract.gate import Gate, Guard, Slices
from contract.metrics import MetricName


class Finding(NamedTuple):
    """The decision of one part of the gate."""

    decision: Literal["promote", "keep", "inconclusive"]
    sentence: str


class Measured(NamedTuple):
    """An interval whose three numbers are defined and finite."""

    value: float
    low: float
    high: float
    level: float


class Limit(NamedTuple):
    """A guard's limit: `sign` times the metric must be at least `sign` times `value`."""

    value: float
    sign: int
    comparator: str


class Bar(NamedTuple):
    """The interval's lower end must lie above `height`; `requirement` is that as text."""

    height: float
    requirement: str


def decide(comparison: Comparison, gate: Gate) -> Verdict:
    findings = list(findings_of(comparison, gate))
    for decision in ("keep", "inconclusive", "promote"):
        sentences = [finding.sentence for finding in findings if finding.decision == decision]
        if sentences:
            return Verdict(decision=decision, reason=" ".join(sentences))
    raise AssertionError("every finding has one of three decisions")


def findings_of(comparison: Comparison, gate: Gate) -> Iterator[Finding]:
    """Guards and slices are judged on the rows of the first comparison."""
    first = comparison.comparisons[0]
    for compared in comparison.comparisons:
        yield judge_comparison(compared, gate)
    if gate.rule == "not_worse" and first.reference == "champion" and comparison.anchor is None:
        yield Finding(
            "inconclusive", f"The anchor of {reference_text(first)} is unknown, and small losses may have added up since it."
        )
    if not first.incomparable:
        yield from (judge_guard(guard, comparison) for guard in gate.guards)
        if gate.slices and first.reference != "baseline":
            yield judge_slices(first, gate.slices, gate)


def judge_comparison(compared: ReferenceComparison, gate: Gate) -> Finding:
    if compared.incomparable:
        return Finding("inconclusive", f"No valid comparison is possible: {compared.incomparable}.")
    result = _result_of(gate.metric, compared)
    improvement = result.improvement if result else None
    gained = _measured(improvement)
    if improvement is None or gained is None:
        why = _why(improvement)
        return Finding("inconclusive", f"The improvement of {gate.metric} against {reference_text(compared)} is unknown: {why}.")
    bar = bar_of(compared, gate)
    rows = f"{compared.rows:,} rows in {improvement.blocks} blocks"
    later = (
        f" after {compared.unseen_after:%Y-%m-%d %H:%M}, the end of that version's training data" if compared.unseen_after else ""
    )
    seen = f"{gate.metric} {_change(gained)} against {reference_text(compared)} on {rows}{later}"
    if gained.low > bar.height:
        return Finding("promote", f"{seen}; {bar.requirement}.")
    if gained.high <= bar.height:
        return Finding("keep", f"{seen}; {bar.requirement}.")
    return Finding("inconclusive", f"{seen}, which is not conclusive; {bar.requirement}.")


def bar_of(compared: ReferenceComparison, gate: Gate) -> Bar:
    """A first model must be better than the trivial baseline, whatever the rule."""
    if compared.reference == "baseline":
        return Bar(0.0, "a first model must be better than that")
    if gate.rule == "better":
        return Bar(gate.margin, f"more than {gate.margin:g} is required")
    return Bar(-gate.margin, f"it may worsen by less than {gate.margin:g}")


def judge_slices(compared: ReferenceComparison, slices: Slices, gate: Gate) -> Finding:
    if not compared.slices:
        return Finding("inconclusive", "The slices were not measured.")
    return _judge_all_shown(compared, slices) if slices.require == "shown_not_worse" else _judge_harm(compared, slices, gate)


def _judge_harm(compared: ReferenceComparison, slices: Slices, gate: Gate) -> Finding:
    """Vetoes slices that are significantly worse, at the gate's confidence over all slices together (Holm 1979)."""
    pairs = ((result.p_worse, result) for result in compared.slices if result.p_worse is not None)
    judged = sorted(pairs, key=lambda pair: pair[0])
    harmed = _harmed(judged, gate.side)
    of_slices = f"of {len(compared.slices)} slices by {' and '.join(slices.columns)}"
    if harmed:
        worst = _slice_text(harmed[0])
        return Finding("keep", f"{len(harmed)} {of_slices} are shown to be worse by more than {slices.margin:g}, such as {worst}.")
    if not judged:
        return Finding("inconclusive", f"None {of_slices} could be judged, such as {_slice_text(compared.slices[0])}.")
    unknown = len(compared.slices) - len(judged)
    beside = f" ({unknown} are too small to judge)" if unknown else ""
    return Finding("promote", f"None {of_slices} is shown to be worse by more than {slices.margin:g}{beside}.")


def _harmed(judged: Sequence[tuple[float, SliceResult]], side: float) -> list[SliceResult]:
    """Those of the slices with their rising p-values that are shown to be worse: the k-th last is tested at `side` / k."""
    left = range(len(judged), 0, -1)
    passing = takewhile(lambda pair: pair[0][0] <= side / pair[1], zip(judged, left, strict=True))
    return [result for (_, result), _ in passing]


def _judge_all_shown(compared: ReferenceComparison, slices: Slices) -> Finding:
    """Requires every slice to pass, which needs no correction for multiple tests."""
    pairs = [(result, _measured(result.improvement)) for result in compared.slices]
    failing = [result for result, measured in pairs if not (measured and measured.low > -slices.margin)]
    harmed = [result for result, measured in pairs if measured and measured.high <= -slices.margin]
    of_slices = f"of {len(compared.slices)} slices by {' and '.join(slices.columns)}"
    if harmed:
        return Finding(
            "keep", f"{len(harmed)} {of_slices} are worse by more than {slices.margin:g}, such as {_slice_text(harmed[0])}."
        )
    if failing:
        example = _slice_text(failing[0])
        return Finding(
            "inconclusive", f"{len(failing)} {of_slices} are not shown to keep within {slices.margin:g}, such as {example}."
        )
    return Finding("promote", f"Each {of_slices} is shown to worsen by less than {slices.margin:g}.")


def _slice_text(result: SliceResult) -> str:
    name = f"the {result.pooled:,} small ones together" if result.pooled else "null" if result.value is None else result.value
    measured = _measured(result.improvement)
    seen = _interval_text(measured, "+") if measured else f"unknown: {_why(result.improvement)}"
    return f"{result.column} {name}: {seen} on {result.rows:,} rows"


def _guarded(guard: Guard, comparison: Comparison) -> Interval | None:
    if guard.over == "folds":
        return comparison.folds.get(guard.metric)
    result = _result_of(guard.metric, comparison.comparisons[0])
    return result.challenger if result else None


def _limit_of(guard: Guard) -> Limit:
    if guard.max is not None:
        return Limit(guard.max, -1, "at most")
    if guard.min is not None:
        return Limit(guard.min, 1, "at least")
    raise AssertionError("a guard has either min or max")


def judge_guard(guard: Guard, comparison: Comparison) -> Finding:
    """Holds where the whole interval is within the limit, is broken where none of it is, else unknown."""
    limit, sign, comparator = _limit_of(guard)
    condition = f"guard {guard.metric} {comparator} {limit:g}{' on the folds' if guard.over == 'folds' else ''}"
    interval = _guarded(guard, comparison)
    measured = _measured(interval)
    if measured is None:
        return Finding("inconclusive", f"The {condition} is unknown: {_why(interval)}.")
    worst, best = sorted(sign * (bound - limit) for bound in (measured.low, measured.high))
    seen = f"{'its recipe' if guard.over == 'folds' else 'the challenger'} has {_interval_text(measured)}"
    if worst >= 0:
        return Finding("promote", f"The {condition} holds: {seen}.")
    if best < 0:
        return Finding("keep", f"The {condition} is broken: {seen}.")
    return Finding("inconclusive", f"The {condition} is unknown: {seen}.")


def _result_of(metric: MetricName, compared: ReferenceComparison) -> MetricResult | None:
    return next((result for result in compared.metrics if result.metric == metric), None)


def _measured(interval: Interval | None) -> Measured | None:
    if interval is None or interval.value is None or interval.low is None or interval.high is None:
        return None
    measured = Measured(interval.value, interval.low, interval.high, interval.level)
    return measured if all(map(isfinite, (measured.value, measured.low, measured.high))) else None


def _why(interval: Interval | None) -> str:
    return (interval.why or "it is not a number") if interval else "it was not measured"


def reference_text(compared: ReferenceComparison) -> str:
    """The reference version, as text."""
    return "the trivial baseline" if compared.reference == "baseline" else f"{compared.reference} version {compared.version}"


def _change(gained: Measured) -> str:
    return f"{'improves' if gained.value >= 0 else 'worsens'}: {_interval_text(gained, '+')}"


def _interval_text(interval: Measured, sign: str = "") -> str:
    """Rounded to two significant digits of the interval's width: more would be noise."""
    width = interval.high - interval.low
    digits = min(max(1 - floor(log10(width)), 0), 12) if width > 0 else 6
    low, value, high = (f"{number:{sign}.{digits}f}" for number in (interval.low, interval.value, interval.high))
    return f"{value} ({100 - 200 * interval.level:.4g} % interval {low} to {high})"
