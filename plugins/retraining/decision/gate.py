"""Whether a challenger may go on: a pure function from a comparison and the spec's gate to a verdict with its reason.

Unknown means no: only what is shown is promoted. A «keep» outweighs an «inconclusive», which outweighs a «promote».
"""

from collections.abc import Iterator
from itertools import takewhile
from math import floor, isfinite, log10
from typing import Literal, NamedTuple

from contract.comparison import Comparison, Interval, MetricResult, ReferenceComparison, SliceResult, Verdict
from contract.gate import Gate, Guard, Slices
from contract.metrics import MetricName


class Finding(NamedTuple):
    """What one part of the gate says by itself."""

    decision: Literal["promote", "keep", "inconclusive"]
    sentence: str


class Bar(NamedTuple):
    """The lower end of the improvement must lie above `height`; `told` says so to people."""

    height: float
    told: str


def decide(comparison: Comparison, gate: Gate) -> Verdict:
    findings = list(findings_of(comparison, gate))
    for decision in ("keep", "inconclusive", "promote"):
        sentences = [finding.sentence for finding in findings if finding.decision == decision]
        if sentences:
            return Verdict(decision=decision, reason=" ".join(sentences))
    raise AssertionError("every finding has one of three decisions")


def findings_of(comparison: Comparison, gate: Gate) -> Iterator[Finding]:
    """Guards and slices are judged on the rows of the first contest."""
    first = comparison.comparisons[0]
    for compared in comparison.comparisons:
        yield judge_comparison(compared, gate)
    if gate.rule == "not_worse" and first.reference == "champion" and comparison.anchor is None:
        yield Finding("inconclusive", f"The anchor of {named(first)} is unknown, and small losses may have added up since it.")
    if not first.incomparable:
        yield from (judge_guard(guard, comparison) for guard in gate.guards)
        if gate.slices and first.reference != "baseline":
            yield judge_slices(first, gate.slices, gate)


def judge_comparison(compared: ReferenceComparison, gate: Gate) -> Finding:
    if compared.incomparable:
        return Finding("inconclusive", f"An honest comparison is impossible: {compared.incomparable}.")
    result = _result_of(gate.metric, compared)
    if result is None or not _defined(result.improvement):
        why = _why(result and result.improvement)
        return Finding("inconclusive", f"The improvement of {gate.metric} against {named(compared)} is unknown: {why}.")
    bar, gained = bar_of(compared, gate), result.improvement
    rows = f"{compared.rows:,} rows in {gained.blocks} blocks"
    later = f" after {compared.unseen_after:%Y-%m-%d %H:%M}, until when that one has learned" if compared.unseen_after else ""
    seen = f"{gate.metric} {_change(gained)} against {named(compared)} on {rows}{later}"
    if gained.low > bar.height:
        return Finding("promote", f"{seen}; {bar.told}.")
    if gained.high <= bar.height:
        return Finding("keep", f"{seen}; {bar.told}.")
    return Finding("inconclusive", f"{seen}, which cannot tell; {bar.told}.")


def bar_of(compared: ReferenceComparison, gate: Gate) -> Bar:
    """A first model must be better than the trivial baseline, whatever the rule."""
    if compared.reference == "baseline":
        return Bar(0.0, "a first model must be better than that")
    if gate.rule == "better":
        return Bar(gate.margin, f"more than {gate.margin:g} was asked")
    return Bar(-gate.margin, f"it may worsen by less than {gate.margin:g}")


def judge_slices(compared: ReferenceComparison, slices: Slices, gate: Gate) -> Finding:
    if not compared.slices:
        return Finding("inconclusive", "The slices were not measured.")
    return _judge_all_shown(compared, slices) if slices.require == "shown_not_worse" else _judge_harm(compared, slices, gate)


def _judge_harm(compared: ReferenceComparison, slices: Slices, gate: Gate) -> Finding:
    """A veto on shown harm, at the gate's own confidence over all slices together (Holm 1979)."""
    looked_at = sorted((each for each in compared.slices if each.p_worse is not None), key=lambda each: each.p_worse)
    left = range(len(looked_at), 0, -1)
    harmed = [*takewhile(lambda pair: pair[0].p_worse <= gate.side / pair[1], zip(looked_at, left, strict=True))]
    told = f"of {len(compared.slices)} slices by {' and '.join(slices.columns)}"
    if harmed:
        worst = _slice(harmed[0][0])
        return Finding("keep", f"{len(harmed)} {told} are shown to be worse by more than {slices.margin:g}, such as {worst}.")
    if not looked_at:
        return Finding("inconclusive", f"None {told} could be judged, such as {_slice(compared.slices[0])}.")
    unknown = len(compared.slices) - len(looked_at)
    beside = f" ({unknown} are too small to tell)" if unknown else ""
    return Finding("promote", f"None {told} is shown to be worse by more than {slices.margin:g}{beside}.")


def _judge_all_shown(compared: ReferenceComparison, slices: Slices) -> Finding:
    """Wants every slice to pass, which needs no correction for their number."""
    failing = [each for each in compared.slices if not (_defined(each.improvement) and each.improvement.low > -slices.margin)]
    harmed = [each for each in failing if _defined(each.improvement) and each.improvement.high <= -slices.margin]
    told = f"of {len(compared.slices)} slices by {' and '.join(slices.columns)}"
    if harmed:
        return Finding("keep", f"{len(harmed)} {told} are worse by more than {slices.margin:g}, such as {_slice(harmed[0])}.")
    if failing:
        example = _slice(failing[0])
        return Finding("inconclusive", f"{len(failing)} {told} are not shown to keep within {slices.margin:g}, such as {example}.")
    return Finding("promote", f"Each {told} is shown to worsen by less than {slices.margin:g}.")


def _slice(found: SliceResult) -> str:
    name = f"the {found.pooled:,} small ones together" if found.pooled else "null" if found.value is None else found.value
    seen = _spelled(found.improvement, "+") if _defined(found.improvement) else f"unknown: {_why(found.improvement)}"
    return f"{found.column} {name}: {seen} on {found.rows:,} rows"


def _guarded(guard: Guard, comparison: Comparison) -> Interval | None:
    if guard.over == "folds":
        return comparison.folds.get(guard.metric)
    result = _result_of(guard.metric, comparison.comparisons[0])
    return result and result.challenger


def judge_guard(guard: Guard, comparison: Comparison) -> Finding:
    """Holds where the whole interval keeps the limit, breaks where none of it does, else it is unknown."""
    limit, sign, asked = (guard.min, 1, "at least") if guard.max is None else (guard.max, -1, "at most")
    told = f"guard {guard.metric} {asked} {limit:g}{' on the folds' if guard.over == 'folds' else ''}"
    found = _guarded(guard, comparison)
    if found is None or not _defined(found):
        return Finding("inconclusive", f"The {told} is unknown: {_why(found)}.")
    worst, best = sorted(sign * (bound - limit) for bound in (found.low, found.high))
    seen = f"{'its recipe' if guard.over == 'folds' else 'the challenger'} has {_spelled(found)}"
    if worst >= 0:
        return Finding("promote", f"The {told} holds: {seen}.")
    if best < 0:
        return Finding("keep", f"The {told} is broken: {seen}.")
    return Finding("inconclusive", f"The {told} is unknown: {seen}.")


def _result_of(metric: MetricName, compared: ReferenceComparison) -> MetricResult | None:
    return next((result for result in compared.metrics if result.metric == metric), None)


def _defined(interval: Interval) -> bool:
    return all(number is not None and isfinite(number) for number in (interval.value, interval.low, interval.high))


def _why(interval: Interval | None) -> str:
    return (interval.why or "it is not a number") if interval else "it was not measured"


def named(compared: ReferenceComparison) -> str:
    """The opponent, as people read it."""
    return "the trivial baseline" if compared.reference == "baseline" else f"{compared.reference} version {compared.version}"


def _change(gained: Interval) -> str:
    return f"{'improves' if gained.value >= 0 else 'worsens'}: {_spelled(gained, '+')}"


def _spelled(interval: Interval, sign: str = "") -> str:
    """Two digits of the interval's width: more would be noise."""
    width = interval.high - interval.low
    digits = min(max(1 - floor(log10(width)), 0), 12) if width > 0 else 6
    low, value, high = (f"{number:{sign}.{digits}f}" for number in (interval.low, interval.value, interval.high))
    return f"{value} ({100 - 200 * interval.level:.4g} % interval {low} to {high})"
