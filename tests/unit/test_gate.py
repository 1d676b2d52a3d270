"""The gate as a table: what is shown is promoted, what is not is not, and the reason is one a person can act on."""

import math

import pytest

from contract.documents import Comparison, Interval, MetricResult, Parity
from contract.spec import Gate
from plugins.retraining.gate import decide

NOWHERE = Interval(value=0.3, low=None, high=None, blocks=5, why="there are 5 blocks and at least 7 are needed")
NAN = math.nan


def around(value: float, low: float, high: float) -> Interval:
    return Interval(value=value, low=low, high=high, blocks=14)


def compared(improvement: Interval, auc: Interval | None = None, **changes: object) -> Comparison:
    """log_loss improves so; the challenger's own AUC is so."""
    ours, theirs = around(0.3, 0.29, 0.31), around(0.31, 0.3, 0.32)
    metrics = [MetricResult(metric="log_loss", challenger=ours, against=theirs, improvement=improvement)]
    if auc:
        metrics.append(MetricResult(metric="auc", challenger=auc, against=auc, improvement=NOWHERE))
    about = {"opponent": "champion", "champion_version": 3, "holdout_rows": 51234, "metrics": tuple(metrics)}
    parity = Parity(rows=10000, largest=1e-15, labels_differ=0)
    return Comparison(**{**about, "parity": parity, "golden": "golden.json", "seconds": 9.0, **changes})


def gate(**changes: object) -> Gate:
    return Gate.model_validate({"metric": "log_loss", "rule": "better", "margin": 0.002, **changes})


NOT_WORSE = {"rule": "not_worse", "margin": 0.002}


@pytest.mark.parametrize(
    ("rule", "low", "high", "decision"),
    [
        ({"margin": 0.002}, 0.0021, 0.01, "promote"),
        ({"margin": 0.002}, 0.002, 0.01, "inconclusive"),  # a tie is not better
        ({"margin": 0.002}, 0.0019, 0.01, "inconclusive"),
        ({"margin": 0.002}, -0.01, 0.0021, "inconclusive"),
        ({"margin": 0.002}, -0.01, 0.002, "keep"),
        ({"margin": 0.002}, -0.01, 0.001, "keep"),
        ({"margin": 0}, 0.0001, 0.01, "promote"),
        ({"margin": 0}, 0.0, 0.01, "inconclusive"),
        ({"margin": 0}, -0.01, 0.0, "keep"),
        (NOT_WORSE, -0.0019, 0.01, "promote"),
        (NOT_WORSE, -0.0019, -0.0001, "promote"),  # shown worse, but by less than the margin
        (NOT_WORSE, -0.002, 0.01, "inconclusive"),
        (NOT_WORSE, -0.01, -0.0021, "keep"),
    ],
)
def test_the_whole_interval_must_clear_the_bar(rule: dict, low: float, high: float, decision: str) -> None:
    assert decide(compared(around((low + high) / 2, low, high)), gate(**rule)).decision == decision


@pytest.mark.parametrize(
    ("low", "high", "decision"),
    [(0.0001, 0.01, "promote"), (0.0, 0.01, "inconclusive"), (-0.0001, 0.01, "inconclusive"), (-0.01, -0.001, "keep")],
)
@pytest.mark.parametrize("rule", [{"rule": "better", "margin": 0.5}, {"rule": "not_worse", "margin": 0.5}])
def test_a_first_model_must_beat_the_baseline_whatever_the_rule(rule: dict, low: float, high: float, decision: str) -> None:
    first = compared(around((low + high) / 2, low, high), opponent="baseline", champion_version=None)

    assert decide(first, gate(**rule)).decision == decision


@pytest.mark.parametrize(
    "improvement",
    [
        NOWHERE,
        around(NAN, 0.1, 0.2),
        around(0.15, NAN, 0.2),
        around(0.15, 0.1, NAN),
        around(math.inf, math.inf, math.inf),
        around(0.15, 0.1, math.inf),
        Interval(value=None, low=None, high=None, blocks=14, why="it is undefined on these rows"),
        Interval(value=None, low=0.1, high=0.2, blocks=14),
    ],
)
@pytest.mark.parametrize("opponent", ["champion", "baseline"])
@pytest.mark.parametrize("rule", [{}, NOT_WORSE])
def test_what_is_no_number_is_never_promoted(improvement: Interval, opponent: str, rule: dict) -> None:
    assert decide(compared(improvement, opponent=opponent), gate(**rule)).decision == "inconclusive"


def test_a_comparison_without_the_gate_s_metric_is_inconclusive() -> None:
    verdict = decide(compared(around(0.1, 0.05, 0.15)), gate(metric="brier"))

    assert verdict.decision == "inconclusive"
    assert verdict.reason == "The improvement of brier is unknown: it was not measured."


def test_models_that_cannot_be_compared_are_for_a_person_to_decide() -> None:
    verdict = decide(
        compared(around(0.1, 0.05, 0.15), metrics=(), incomparable="the champion's label is late, the challenger's delay"),
        gate(guards=[{"metric": "auc", "min": 0.9}]),
    )

    assert verdict.decision == "inconclusive"
    assert verdict.reason == "An honest comparison is impossible: the champion's label is late, the challenger's delay."


def test_an_obstacle_outweighs_whatever_numbers_came_with_it() -> None:
    assert decide(compared(around(0.1, 0.05, 0.15), incomparable="no common rows"), gate()).decision == "inconclusive"


BETTER, WORSE, UNCLEAR = around(0.01, 0.005, 0.015), around(-0.01, -0.015, -0.005), around(0.0, -0.01, 0.01)
AT_LEAST, AT_MOST = [{"metric": "auc", "min": 0.7}], [{"metric": "auc", "max": 0.7}]


@pytest.mark.parametrize(
    ("guards", "auc", "improvement", "decision"),
    [
        (AT_LEAST, around(0.75, 0.70, 0.80), BETTER, "promote"),  # the limit itself is kept
        (AT_LEAST, around(0.75, 0.69, 0.80), BETTER, "inconclusive"),
        (AT_LEAST, around(0.65, 0.60, 0.70), BETTER, "inconclusive"),
        (AT_LEAST, around(0.65, 0.60, 0.69), BETTER, "keep"),
        (AT_MOST, around(0.65, 0.60, 0.70), BETTER, "promote"),
        (AT_MOST, around(0.65, 0.60, 0.71), BETTER, "inconclusive"),
        (AT_MOST, around(0.75, 0.71, 0.80), BETTER, "keep"),
        (AT_LEAST, NOWHERE, BETTER, "inconclusive"),
        (AT_LEAST, around(NAN, 0.8, 0.9), BETTER, "inconclusive"),
        (AT_LEAST, around(0.85, 0.8, math.inf), BETTER, "inconclusive"),
        (AT_LEAST, None, BETTER, "inconclusive"),
        # What is shown to be bad is kept out for good, not left for a person to wave through.
        (AT_LEAST, NOWHERE, WORSE, "keep"),
        (AT_LEAST, around(0.65, 0.60, 0.69), UNCLEAR, "keep"),
        (AT_LEAST, around(0.75, 0.71, 0.80), UNCLEAR, "inconclusive"),
        (AT_LEAST, around(0.75, 0.71, 0.80), WORSE, "keep"),
        ([*AT_LEAST, {"metric": "log_loss", "max": 0.25}], NOWHERE, BETTER, "keep"),
    ],
)
def test_a_guard_holds_breaks_or_is_unknown(guards: list, auc: Interval | None, improvement: Interval, decision: str) -> None:
    assert decide(compared(improvement, auc), gate(guards=guards)).decision == decision


@pytest.mark.parametrize(
    ("comparison", "policy", "reason"),
    [
        (
            compared(around(0.0123456, 0.0100123, 0.0146789), around(0.75, 0.71, 0.79)),
            gate(guards=AT_LEAST),
            "log_loss improves: +0.0123 (95 % interval +0.0100 to +0.0147) against champion version 3 on 51,234 rows in 14 blocks; "
            "more than 0.002 was asked. The guard auc at least 0.7 holds: the challenger has 0.750 (95 % interval 0.710 to 0.790).",
        ),
        (
            compared(around(-0.5, -0.75, -0.25)),
            gate(rule="not_worse", margin=0.1, confidence=0.9),
            "log_loss worsens: -0.50 (90 % interval -0.75 to -0.25) against champion version 3 on 51,234 rows in 14 blocks; "
            "it may worsen by less than 0.1.",
        ),
        (
            compared(around(1.0, -20.0, 22.0), opponent="baseline", champion_version=None),
            gate(),
            "log_loss improves: +1 (95 % interval -20 to +22) against the trivial baseline on 51,234 rows in 14 blocks, "
            "which cannot tell; a first model must be better than that.",
        ),
        (compared(NOWHERE), gate(), "The improvement of log_loss is unknown: there are 5 blocks and at least 7 are needed."),
        (
            compared(around(0.01, 0.005, 0.015), around(0.65, 0.6, 0.69)),
            gate(guards=AT_LEAST),
            "The guard auc at least 0.7 is broken: the challenger has 0.650 (95 % interval 0.600 to 0.690).",
        ),
    ],
)
def test_the_reason_names_the_metric_its_numbers_and_what_was_asked(comparison: Comparison, policy: Gate, reason: str) -> None:
    assert decide(comparison, policy).reason == reason
