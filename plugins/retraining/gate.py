"""Whether a challenger may go on: a pure function from a comparison and the spec's gate to a verdict with its reason.

Unknown means no: only what is shown is promoted. A «keep» outweighs an «inconclusive», which outweighs a «promote».
"""

from math import floor, isfinite, log10
from typing import Literal, NamedTuple

from contract.algorithms import MetricName
from contract.documents import Comparison, Interval, MetricResult, Verdict
from contract.spec import Gate, Guard


class Finding(NamedTuple):
    """What one part of the gate says by itself."""

    decision: Literal["promote", "keep", "inconclusive"]
    sentence: str


class Bar(NamedTuple):
    """The lower end of the improvement must lie above `height`; `told` says so to people."""

    height: float
    told: str


def decide(comparison: Comparison, gate: Gate) -> Verdict:
    if comparison.incomparable:
        return Verdict(decision="inconclusive", reason=f"An honest comparison is impossible: {comparison.incomparable}.")
    findings = [judge_improvement(comparison, gate), *(judge_guard(guard, comparison, gate) for guard in gate.guards)]
    for decision in ("keep", "inconclusive", "promote"):
        sentences = [finding.sentence for finding in findings if finding.decision == decision]
        if sentences:
            return Verdict(decision=decision, reason=" ".join(sentences))
    raise AssertionError("every finding has one of three decisions")


def judge_improvement(comparison: Comparison, gate: Gate) -> Finding:
    result = _result_of(gate.metric, comparison)
    if result is None or not _defined(result.improvement):
        return Finding("inconclusive", f"The improvement of {gate.metric} is unknown: {_why(result and result.improvement)}.")
    bar, gained = bar_of(comparison, gate), result.improvement
    rows = f"{comparison.holdout_rows:,} rows in {gained.blocks} blocks"
    seen = f"{gate.metric} {_change(gained, gate)} against {_opponent(comparison)} on {rows}"
    if gained.low > bar.height:
        return Finding("promote", f"{seen}; {bar.told}.")
    if gained.high <= bar.height:
        return Finding("keep", f"{seen}; {bar.told}.")
    return Finding("inconclusive", f"{seen}, which cannot tell; {bar.told}.")


def bar_of(comparison: Comparison, gate: Gate) -> Bar:
    """A first model must be better than the trivial baseline, whatever the rule."""
    if comparison.opponent == "baseline":
        return Bar(0.0, "a first model must be better than that")
    if gate.rule == "better":
        return Bar(gate.margin, f"more than {gate.margin:g} was asked")
    return Bar(-gate.margin, f"it may worsen by less than {gate.margin:g}")


def judge_guard(guard: Guard, comparison: Comparison, gate: Gate) -> Finding:
    """Holds where the whole interval keeps the limit, breaks where none of it does, else it is unknown."""
    limit, sign, asked = (guard.min, 1, "at least") if guard.max is None else (guard.max, -1, "at most")
    told = f"guard {guard.metric} {asked} {limit:g}"
    result = _result_of(guard.metric, comparison)
    if result is None or not _defined(result.challenger):
        return Finding("inconclusive", f"The {told} is unknown: {_why(result and result.challenger)}.")
    worst, best = sorted(sign * (bound - limit) for bound in (result.challenger.low, result.challenger.high))
    seen = f"the challenger has {_spelled(result.challenger, gate)}"
    if worst >= 0:
        return Finding("promote", f"The {told} holds: {seen}.")
    if best < 0:
        return Finding("keep", f"The {told} is broken: {seen}.")
    return Finding("inconclusive", f"The {told} is unknown: {seen}.")


def _result_of(metric: MetricName, comparison: Comparison) -> MetricResult | None:
    return next((result for result in comparison.metrics if result.metric == metric), None)


def _defined(interval: Interval) -> bool:
    return all(number is not None and isfinite(number) for number in (interval.value, interval.low, interval.high))


def _why(interval: Interval | None) -> str:
    return (interval.why or "it is not a number") if interval else "it was not measured"


def _opponent(comparison: Comparison) -> str:
    return "the trivial baseline" if comparison.opponent == "baseline" else f"champion version {comparison.champion_version}"


def _change(gained: Interval, gate: Gate) -> str:
    return f"{'improves' if gained.value >= 0 else 'worsens'}: {_spelled(gained, gate, sign='+')}"


def _spelled(interval: Interval, gate: Gate, sign: str = "") -> str:
    """Two digits of the interval's width: more would be noise."""
    width = interval.high - interval.low
    digits = min(max(1 - floor(log10(width)), 0), 12) if width > 0 else 6
    low, value, high = (f"{number:{sign}.{digits}f}" for number in (interval.low, interval.value, interval.high))
    return f"{value} ({100 * gate.confidence:g} % interval {low} to {high})"
