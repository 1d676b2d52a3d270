"""The gate as a table: what is shown is promoted, what is not is not, and the reason is one a person can act on."""

import math
from datetime import UTC, datetime

import pytest

from contract.comparison import Comparison, Interval, MetricResult, Parity, ReferenceComparison, SliceResult
from contract.gate import Gate
from plugins.retraining.decision.gate import decide

NOWHERE = Interval(value=0.3, low=None, high=None, blocks=5, why="there are 5 blocks and at least 7 are needed")
NAN = math.nan


def around(value: float, low: float, high: float) -> Interval:
    return Interval(value=value, low=low, high=high, blocks=14)


def compared(improvement: Interval, auc: Interval | None = None, **changes: object) -> Comparison:
    """log_loss improves so; the challenger's own AUC is so."""
    ours, theirs = around(0.3, 0.29, 0.31), around(0.31, 0.3, 0.32)
    metrics = [MetricResult(metric="log_loss", challenger=ours, reference=theirs, improvement=improvement)]
    if auc:
        metrics.append(MetricResult(metric="auc", challenger=auc, reference=auc, improvement=NOWHERE))
    about = {"reference": "champion", "version": 3, "rows": 51234, "metrics": tuple(metrics)}
    return comparison(ReferenceComparison(**{**about, **changes}))


def comparison(*comparisons: ReferenceComparison, anchor: int | None = 3) -> Comparison:
    parity = Parity(rows=10000, largest=1e-15, labels_differ=0)
    return Comparison(version=4, comparisons=comparisons, anchor=anchor, parity=parity, golden="golden.json", seconds=9.0)


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
    first = compared(around((low + high) / 2, low, high), reference="baseline", version=None)

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
@pytest.mark.parametrize("reference", ["champion", "baseline"])
@pytest.mark.parametrize("rule", [{}, NOT_WORSE])
def test_what_is_no_number_is_never_promoted(improvement: Interval, reference: str, rule: dict) -> None:
    assert decide(compared(improvement, reference=reference), gate(**rule)).decision == "inconclusive"


def test_a_comparison_without_the_gate_s_metric_is_inconclusive() -> None:
    verdict = decide(compared(around(0.1, 0.05, 0.15)), gate(metric="brier"))

    assert verdict.decision == "inconclusive"
    assert verdict.reason == "The improvement of brier against champion version 3 is unknown: it was not measured."


def test_models_that_cannot_be_compared_are_for_a_person_to_decide() -> None:
    verdict = decide(
        compared(around(0.1, 0.05, 0.15), metrics=(), incomparable="the champion's label is late, the challenger's delay"),
        gate(guards=[{"metric": "auc", "min": 0.9}]),
    )

    assert verdict.decision == "inconclusive"
    assert verdict.reason == "No valid comparison is possible: the champion's label is late, the challenger's delay."


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
            "more than 0.002 is required. "
            "The guard auc at least 0.7 holds: the challenger has 0.750 (95 % interval 0.710 to 0.790).",
        ),
        (
            compared(Interval(value=-0.5, low=-0.75, high=-0.25, blocks=14, level=0.005)),
            gate(rule="not_worse", margin=0.1),
            "log_loss worsens: -0.50 (99 % interval -0.75 to -0.25) against champion version 3 on 51,234 rows in 14 blocks; "
            "it may worsen by less than 0.1.",
        ),
        (
            compared(around(1.0, -20.0, 22.0), reference="baseline", version=None),
            gate(),
            "log_loss improves: +1 (95 % interval -20 to +22) against the trivial baseline on 51,234 rows in 14 blocks, "
            "which is not conclusive; a first model must be better than that.",
        ),
        (
            compared(NOWHERE),
            gate(),
            "The improvement of log_loss against champion version 3 is unknown: there are 5 blocks and at least 7 are needed.",
        ),
        (
            compared(around(0.01, 0.005, 0.015), unseen_after=datetime(2026, 1, 8, 23, tzinfo=UTC)),
            gate(),
            "log_loss improves: +0.010 (95 % interval +0.005 to +0.015) against champion version 3 on 51,234 rows in 14 blocks "
            "after 2026-01-08 23:00, the end of that version's training data; more than 0.002 is required.",
        ),
        (
            compared(around(0.01, 0.005, 0.015), around(0.65, 0.6, 0.69)),
            gate(guards=AT_LEAST),
            "The guard auc at least 0.7 is broken: the challenger has 0.650 (95 % interval 0.600 to 0.690).",
        ),
    ],
)
def test_the_reason_names_the_metric_its_numbers_and_what_is_required(comparison: Comparison, policy: Gate, reason: str) -> None:
    assert decide(comparison, policy).reason == reason


def against(reference: str, version: int, improvement: Interval, **changes: object) -> ReferenceComparison:
    result = MetricResult(metric="log_loss", challenger=around(0.3, 0.29, 0.31), reference=NOWHERE, improvement=improvement)
    return ReferenceComparison(**{"reference": reference, "version": version, "rows": 1000, "metrics": (result,), **changes})


WELL, LOST = around(0.0, -0.0019, 0.002), around(-0.004, -0.006, -0.0021)


@pytest.mark.parametrize(
    ("comparison", "decision"),
    [
        (comparison(against("champion", 3, WELL), anchor=3), "promote"),  # the champion is the anchor
        (comparison(against("champion", 3, WELL), against("anchor", 1, WELL), anchor=1), "promote"),
        (comparison(against("champion", 3, WELL), against("anchor", 1, LOST), anchor=1), "keep"),  # small losses added up
        (comparison(against("champion", 3, WELL), against("anchor", 1, NOWHERE), anchor=1), "inconclusive"),
        (
            comparison(against("champion", 3, WELL), against("anchor", 1, WELL, incomparable="it is gone"), anchor=1),
            "inconclusive",
        ),
        (comparison(against("champion", 3, LOST), against("anchor", 1, WELL), anchor=1), "keep"),
        (comparison(against("champion", 3, WELL), anchor=None), "inconclusive"),
    ],
)
def test_not_worse_is_required_against_champion_and_anchor(comparison: Comparison, decision: str) -> None:
    assert decide(comparison, gate(**NOT_WORSE)).decision == decision


def test_better_needs_no_anchor() -> None:
    assert decide(comparison(against("champion", 3, BETTER), anchor=None), gate()).decision == "promote"


def part(p_worse: float | None, improvement: Interval = UNCLEAR, **about: object) -> SliceResult:
    about = {"column": "carrier", "value": "AA", "rows": 2000, **about}
    return SliceResult(improvement=improvement if p_worse is not None else NOWHERE, p_worse=p_worse, **about)


def sliced(*parts: SliceResult) -> Comparison:
    return comparison(against("champion", 3, BETTER, slices=parts))


@pytest.mark.parametrize(
    ("p_values", "decision"),
    [
        ([0.5, 0.9], "promote"),
        ([0.0125, 0.9], "keep"),  # 0.025 over two
        ([0.0126, 0.9], "promote"),
        ([0.02, 0.9], "promote"),
        ([0.012, 0.025], "keep"),
        ([0.008, 0.009, 0.9, 0.9], "promote"),  # 0.025 over four is 0.00625
        ([0.006, 0.9, 0.9, 0.9], "keep"),
        ([None, 0.9], "promote"),  # too small to tell: a veto protects against shown harm only
        ([None, 0.02], "keep"),  # and leaves one to be judged
        ([None, None], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_a_slice_that_is_shown_to_be_worse_vetoes(p_values: list[float | None], decision: str) -> None:
    policy = gate(slices={"columns": ["carrier"], "margin": 0.01})

    assert decide(sliced(*map(part, p_values)), policy).decision == decision


@pytest.mark.parametrize(
    ("improvements", "decision"),
    [
        ([BETTER, around(0.0, -0.009, 0.009)], "promote"),
        ([BETTER, around(0.0, -0.01, 0.01)], "inconclusive"),
        ([BETTER, NOWHERE], "inconclusive"),
        ([NOWHERE, around(-0.03, -0.05, -0.01)], "keep"),
        ([BETTER, around(-0.02, -0.05, -0.009)], "inconclusive"),
    ],
)
def test_each_slice_must_be_shown_not_to_be_worse_where_that_is_required(improvements: list[Interval], decision: str) -> None:
    policy = gate(slices={"columns": ["carrier"], "margin": 0.01, "require": "shown_not_worse"})

    assert decide(sliced(*(part(0.5, improvement) for improvement in improvements)), policy).decision == decision


def test_a_veto_names_the_worst_slice() -> None:
    policy = gate(slices={"columns": ["carrier", "origin"], "margin": 0.01})
    small = part(0.001, around(-0.04, -0.06, -0.02), value="", pooled=12, rows=900)

    verdict = decide(sliced(part(0.0001, around(-0.05, -0.06, -0.04), value=None), small, part(0.9)), policy)

    assert verdict.reason == (
        "2 of 3 slices by carrier and origin are shown to be worse by more than 0.01, such as carrier null: "
        "-0.050 (95 % interval -0.060 to -0.040) on 2,000 rows."
    )


def test_a_first_model_is_not_sliced_against_the_baseline() -> None:
    first = comparison(
        ReferenceComparison(reference="baseline", version=None, rows=1000, metrics=against("champion", 3, BETTER).metrics)
    )

    assert decide(first, gate(slices={"columns": ["carrier"], "margin": 0.01})).decision == "promote"


@pytest.mark.parametrize(
    ("budget", "evaluations", "level"),
    [(None, 365, 0.025), (1.0, 365, 1 / 365), (1.0, 8760, 1 / 8760), (20.0, 365, 0.025), (1.0, None, 0.025)],
)
def test_a_yearly_budget_is_shared_by_the_evaluations(budget: float | None, evaluations: float | None, level: float) -> None:
    assert gate(yearly_false_promotions=budget).level(evaluations) == pytest.approx(level)


@pytest.mark.parametrize(
    ("folds", "decision"),
    [
        ({"auc": around(0.75, 0.71, 0.79)}, "promote"),
        ({"auc": around(0.71, 0.69, 0.73)}, "inconclusive"),
        ({"auc": around(0.65, 0.61, 0.69)}, "keep"),
        ({}, "inconclusive"),
    ],
)
def test_a_guard_may_be_over_the_folds(folds: dict[str, Interval], decision: str) -> None:
    """The holdout's own AUC, which would break it, does not count."""
    comparison = compared(BETTER, around(0.65, 0.61, 0.69)).model_copy(update={"folds": folds})

    assert decide(comparison, gate(guards=[{"metric": "auc", "min": 0.7, "over": "folds"}])).decision == decision


def test_a_guard_on_folds_says_that_it_is_about_the_recipe() -> None:
    comparison = compared(WORSE).model_copy(update={"folds": {"auc": around(0.65, 0.61, 0.69)}})

    verdict = decide(comparison, gate(guards=[{"metric": "auc", "min": 0.7, "over": "folds"}]))

    assert "The guard auc at least 0.7 on the folds is broken: its recipe has 0.650" in verdict.reason
