"""The verdict's page, from documents typed by hand."""

from datetime import UTC, datetime
from html.parser import HTMLParser

from contract.comparison import (
    Approval,
    Comparison,
    Curves,
    Interval,
    MetricResult,
    Parity,
    RecipeChange,
    ReferenceComparison,
    SliceResult,
)
from contract.documents import RunDocument
from plugins.retraining.decision.evaluation_budget import Evaluation
from plugins.retraining.decision.gate import decide
from plugins.retraining.decision.verdict_page import verdict_page

SPEC = {
    "name": "late",
    "description": "late?",
    "owner": "ops",
    "sources": {"flights": {"format": "parquet", "path": "flights"}},
    "examples": {"id": "id", "time": "at", "label": "late", "numeric": ["delay"], "categorical": ["carrier"]},
    "task": "binary",
    "split": {"holdout": "14d"},
    "algorithm": {"name": "gbt_classifier"},
    "gate": {
        **{"metric": "log_loss", "rule": "not_worse", "margin": 0.01, "guards": [{"metric": "auc", "min": 0.7}]},
        "slices": {"columns": ["carrier"], "margin": 0.02},
    },
}
PLATFORM = {"name": "local", "store": "s", "data": "d", "mlflow": "http://mlflow.example", "spark": {"python": "python"}}
RUN = RunDocument.model_validate(
    {
        **{"model": "late", "run_id": "manual__1", "folder": "runs/late/1", "clear_number": 0, "backfill": False},
        **{"as_of": datetime(2026, 2, 1, tzinfo=UTC), "spec": SPEC, "spec_hash": "s", "sql": None, "suites": {}},
        "platform": {**PLATFORM, "images": {"repository": "oci:i"}, "serving": {"python": "python"}},
        **{"champion": None, "code_hash": "c"},
    }
)
NOWHERE = Interval(value=None, low=None, high=None, blocks=5, why="there are 5 blocks and at least 7 are needed")


def around(value: float, half: float) -> Interval:
    return Interval(value=value, low=value - half, high=value + half, blocks=14, lag1=0.2, skewness=-0.5)


def result(metric: str, improvement: Interval) -> MetricResult:
    return MetricResult(metric=metric, challenger=around(0.75, 0.01), reference=around(0.74, 0.01), improvement=improvement)


def part(value: str | None, improvement: Interval, pooled: int = 0) -> SliceResult:
    return SliceResult(column="carrier", value=value, pooled=pooled, rows=1200, improvement=improvement, p_worse=0.5)


CURVES = Curves(
    calibration=((0.1, 0.12, 900), (0.9, 0.85, 100)), calibration_error=0.023, ranking=((0.0, 0.5, 0.9), (1.0, 1.0, 0.25))
)
CHAMPION = ReferenceComparison(
    reference="champion",
    version=3,
    rows=51234,
    metrics=(result("log_loss", around(0.004, 0.003)), result("auc", NOWHERE)),
    slices=(part("<AA>", around(0.0, 0.01)), part(None, NOWHERE), part("", around(0.001, 0.02), pooled=7)),
    curves={"challenger": CURVES, "reference": CURVES},
)
ANCHOR = ReferenceComparison(reference="anchor", version=1, rows=0, incomparable="MLflow has no version 1 of late any more")


class Words(HTMLParser):
    """What is read, without the marks; every tag that is opened is closed."""

    VOID = ("meta",)

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.open += [] if tag in self.VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


def page(*comparisons: ReferenceComparison, approval: Approval | None = None, **parts: object) -> Words:
    parity = Parity(rows=10000, largest=3e-15, labels_differ=0)
    comparison = Comparison(version=4, comparisons=comparisons, anchor=1, parity=parity, golden="golden.json", seconds=9.0, **parts)
    verdict = decide(comparison, RUN.spec.gate).model_copy(update={"approval": approval})
    return Words(verdict_page(RUN, 4, comparison, Evaluation(key="k", verdict=verdict, number=12, allowed=365), verdict))


def test_the_page_shows_the_verdict_its_numbers_and_pictures() -> None:
    shown = page(CHAMPION, ANCHOR)

    assert "late version 4 inconclusive" in shown.text
    assert "evaluation 12 of 365 of the year up to then, each with a false promotion rate of at most 2.5 %" in shown.text
    assert "No valid comparison is possible: MLflow has no version 1 of late any more." in shown.text
    assert "Against champion version 3 51,234 rows that neither model was trained on" in shown.text
    assert "log_loss 0.75 0.74 +0.004 (95 %: +0.001 to +0.007)" in shown.text
    assert "auc 0.75 0.74 there are 5 blocks and at least 7 are needed" in shown.text
    assert "The guard auc at least 0.7 holds: the challenger has 0.750 (95 % interval 0.740 to 0.760)." in shown.text
    assert "carrier: <AA> 1,200 rows +0 (95 %: -0.01 to +0.01)" in shown.text
    assert "carrier: null 1,200 rows there are 5 blocks" in shown.text
    assert "carrier: 7 small values pooled" in shown.text
    assert "neighbouring blocks have a correlation of +0.20, and their values have a skewness of -0.50" in shown.text
    assert shown.tags.count("figure") == 3  # calibration, ROC, precision and recall
    assert shown.tags.count("svg") == 3 + 1 + 2  # and an interval for each metric and slice that has one


def test_what_a_person_said_is_on_the_page() -> None:
    approval = Approval(approved=True, by="ada", at=datetime(2026, 2, 1, 8, tzinfo=UTC), reason="<b>the old one is a year old</b>")

    shown = page(CHAMPION, ANCHOR, approval=approval)

    assert "inconclusive, approved" in shown.text
    assert "ada said yes on 2026-02-01 08:00 UTC: <b>the old one is a year old</b>" in shown.text


def test_walk_forward_folds_are_separate_from_what_decides() -> None:
    shown = page(CHAMPION, ANCHOR, folds={"auc": around(0.75, 0.04), "log_loss": NOWHERE})

    assert "they estimate the recipe, not this version, and promote nothing." in shown.text
    assert "auc 0.75 (95 %: 0.71 to 0.79) log_loss there are 5 blocks and at least 7 are needed" in shown.text


def test_a_changed_recipe_is_shown_on_the_folds() -> None:
    result = CHAMPION.metrics[0]
    shown = page(CHAMPION, ANCHOR, recipe=RecipeChange(changed=("sql", "algorithm"), rows=1234, result=result))

    assert (
        "another recipe than the champion (other sql and algorithm). Both recipes on the same 1,234 rows of the folds:"
        in shown.text
    )
    assert "log_loss 0.75 0.74 +0.004 (95 %: +0.001 to +0.007) How to read" in shown.text


def test_why_a_changed_recipe_was_not_compared_is_shown() -> None:
    shown = page(CHAMPION, ANCHOR, recipe=RecipeChange(changed=("columns",), why="x is missing"))

    assert "(other columns). The two recipes were not compared: x is missing." in shown.text


def test_residuals_are_drawn_for_numbers() -> None:
    curves = Curves(residuals=((-1.0, 0.0, 10), (0.0, 1.0, 30)))

    shown = page(CHAMPION.model_copy(update={"curves": {"challenger": curves, "reference": curves}, "slices": ()}), ANCHOR)

    assert shown.tags.count("figure") == 1


def test_a_comparison_without_any_number_is_still_a_page() -> None:
    shown = page(ReferenceComparison(reference="champion", version=3, rows=0, incomparable="the champion's task is binary"))

    assert "No valid comparison: the champion's task is binary." in shown.text
    assert shown.tags.count("svg") == 0
