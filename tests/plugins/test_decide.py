"""What a verdict is given for, what it costs, and the approval: whole runs up to an answer."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.comparison import Verdict
from contract.documents import RunDocument, read
from contract.store.factory import store_at
from plugins.retraining import mlflow_registry
from plugins.retraining.context import TaskContext
from plugins.retraining.dag import dag_for
from plugins.retraining.decision.approval import patience, with_answer
from plugins.retraining.decision.evaluation_budget import Evaluation
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.operators import base
from release.ledger.ledger import Ledger
from tests.plugins.conftest import HOME, TAGS, Inbox
from tests.plugins.fakes import FakeEngine
from tests.plugins.runner import Run, start
from tests.plugins.stand_in_job import VERSION
from tests.release.fake_controller import FakeController

STORE = HOME / "store"
DUE = datetime(2013, 6, 15, 6, tzinfo=UTC)
GATE = "gate: {metric: log_loss, rule: not_worse, margin: 0.01}"


@pytest.fixture
def play(airflow: None, bundle: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Starts a run of the model `late` whose gate has these lines besides."""
    monkeypatch.setattr(base.WaitingStep, "poke_s", 0.1)
    monkeypatch.setattr(base.CheckStep, "patience_s", 0)
    shutil.rmtree(STORE, ignore_errors=True)
    TAGS.clear()
    path = bundle / "dags" / "models" / "late.yaml"
    text = path.read_text()

    def begin(engine: FakeEngine, gate: str = "", due: datetime = DUE, **run: object) -> Run:
        path.write_text(text.replace(GATE, f"{GATE[:-1]}{gate and ', '}{gate}}}"))
        try:
            dag = dag_for(path, lambda spark: engine)
        finally:
            path.write_text(text)
        return start(dag, FakeController(store_at(str(STORE))).reconcile, due=due, **run).go()

    return begin


def live() -> int | None:
    champion = Ledger(store_at(str(STORE))).champion("late")
    return champion and champion.version


def test_a_promotion_waits_for_a_person_where_the_spec_wants_it(play, inbox):
    run = play(FakeEngine(), "approval: required, guards: [{metric: log_loss, max: 0.5}]")

    subject, body = run.question("decide")
    assert (run.state, run.states()["decide"], live()) == ("running", "awaiting_input", None)
    assert subject == "late version 7: promote. Release it?"
    assert "| log_loss | 0.3 | 0.3 | +0.004 (+0.001 to +0.007) |" in body
    assert "- The guard log_loss at most 0.5 holds: the challenger has 0.3" in body
    assert "[MLflow run of version 7](http://mlflow.example/#/runs/r1)" in body
    assert inbox.slack[0].startswith("*late: approval needed*\nlog_loss improves: ")
    assert inbox.slack[0].splitlines()[2] == "Unanswered within 10 minutes, it is not released."  # the deadline, not 30 minutes

    run.answer("decide", "Release version 7", "looks right")

    assert (run.state, live()) == ("success", VERSION)
    answer = run.xcom("decide", "document")["approval"]
    assert (answer["approved"], answer["by"], answer["reason"]) == (True, "ada", "looks right")
    assert (TAGS["verdict"], TAGS["approval"], TAGS["approval.by"], TAGS["approval.reason"]) == (
        "promote",
        "yes",
        "ada",
        "looks right",
    )


@pytest.mark.parametrize(
    ("by", "reason", "sentence"),
    [("ada", "not before the holidays", "ada said no: not before the holidays"), (None, "", "said no")],
)
def test_a_no_and_no_answer_in_time_end_the_run_green(play, inbox, by, reason, sentence):
    run = play(FakeEngine(), "approval: required").answer("decide", "Do not release", reason, by)

    assert (run.state, run.states()["package"], live()) == ("success", "skipped", None)
    assert sentence in run.xcom("decide", "reason")
    assert inbox.slack[1].startswith("*late: stopped at decide*\npromote: log_loss improves")


def test_an_inconclusive_verdict_requests_an_approval_where_the_spec_wants_it(play, inbox):
    run = play(FakeEngine(compare="unclear"), "on_inconclusive: ask")

    assert run.question("decide")[0] == "late version 7: inconclusive. Release it?"
    run.answer("decide", "Release version 7", "the old one is a year old")

    assert live() == VERSION
    assert inbox.slack[1].startswith(
        "*late: approved against its verdict*\nada overrode «inconclusive»: the old one is a year old\n"
    )


def test_a_keep_is_overridden_by_clearing_decide_and_giving_a_reason(play, inbox):
    run = play(FakeEngine(compare="worse"))
    assert (run.state, run.states()["package"]) == ("success", "skipped")

    run.clear("decide").go()
    assert run.states()["decide"] == "awaiting_input"
    run.answer("decide", "Release version 7", "the label was wrong last week")

    assert (run.state, live()) == ("success", VERSION)
    assert TAGS["verdict"] == "keep"
    assert "approved against its verdict" in inbox.slack[-2]


def test_an_override_without_a_reason_is_none(play):
    run = play(FakeEngine(compare="worse"))

    run.clear("decide").go().answer("decide", "Release version 7", "  ")

    assert (run.state, run.states()["package"], live()) == ("success", "skipped", None)
    assert "an override needs a reason" in run.xcom("decide", "reason")


def test_the_same_pair_as_of_the_same_time_gets_the_stored_verdict(play):
    engine = FakeEngine(compare="worse")
    run = play(engine)
    engine.behaviour["compare"] = "well"

    run.clear("compare").go()

    assert engine.ran == ["validate", "train", "compare", "compare"]
    assert "keep: log_loss worsens" in run.question("decide")[1].replace("*", "").replace("\\", "")


def test_a_yearly_budget_pays_for_an_evaluation_a_day_and_no_more(play, monkeypatch):
    """365 evaluations a year share two false promotions; the 366th within a year is refused."""
    folder = STORE / "evaluations" / "late"
    folder.mkdir(parents=True)
    for day in range(364):
        (folder / f"{DUE - timedelta(days=day, hours=1):%Y%m%dT%H%M%S}-{day}-0.json").write_text("{}")
    (folder / f"{DUE - timedelta(days=365):%Y%m%dT%H%M%S}-900-0.json").write_text("{}")  # a year ago: counts no more

    last = play(FakeEngine(compare="worse"), "yearly_false_promotions: 2")
    beyond = play(FakeEngine(), "yearly_false_promotions: 2", due=DUE + timedelta(seconds=1))

    assert last.xcom("decide", "reason").startswith("keep: log_loss worsens")
    assert beyond.xcom("decide", "reason").startswith(
        "keep: No evaluation is left: all 365 that gate.yearly_false_promotions allows"
    )
    assert live() is None

    beyond.clear("decide").go().answer("decide", "Release version 7", "the old one is broken")  # a person may
    assert (beyond.state, live()) == ("success", VERSION)


def test_a_run_that_releases_nothing_spends_no_evaluation_and_requests_no_approval(play):
    play(FakeEngine(), "approval: required", due=DUE + timedelta(days=30), kind="backfill")
    run = play(FakeEngine(compare="unclear"), "on_inconclusive: ask", conf={"release": False})

    assert (run.state, (STORE / "evaluations").exists()) == ("success", False)


def test_the_verdict_is_a_page_in_mlflow(play):
    run = play(FakeEngine(compare="worse"))

    page = (HOME / "artifacts" / "verdict.html").read_text()
    assert run.xcom("decide", "_link_VerdictLink") == "http://mlflow.example/#/runs/r1/artifacts/verdict.html"
    assert run.xcom("decide", "document")["reason"] in page
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org", "")  # self-contained


def test_a_yes_to_the_question_about_another_version_releases_nothing(play):
    """Airflow keeps the text of a question when its task is cleared, so an old page may be answered."""
    run = play(FakeEngine(), "approval: required").answer("decide", "Release version 6", "looks right")

    assert (run.states()["decide"], run.tries()["decide"], live()) == ("failed", 1, None)


def test_an_answer_stands_when_mlflow_fails_after_it(play, monkeypatch):
    tell, failed = mlflow_registry.record_verdict, []

    def once_down(*given: object) -> str:
        if not failed:
            failed.append(given)
            raise EngineTrouble("MLflow does not answer")
        return tell(*given)

    monkeypatch.setattr(mlflow_registry, "record_verdict", once_down)

    run = play(FakeEngine(), "approval: required").answer("decide", "Release version 7", "looks right")

    assert (run.state, run.tries()["decide"], live()) == ("success", 2, VERSION)
    assert run.xcom("decide", "document")["approval"]["by"] == "ada"


def test_a_comparison_of_another_version_decides_nothing(play, inbox):
    run = play(FakeEngine(compare="worse"))
    trained = next(STORE.rglob("train-*[!t].json"))
    trained.write_text(trained.read_text().replace('"version": 7', '"version": 8'))

    run.clear("decide").go()

    assert (run.state, run.states()["decide"]) == ("failed", "failed")
    assert (
        "this run is about version 8 against the trivial baseline, but its comparison is of version 7 against the trivial "
        "baseline: clear `compare` and its downstream tasks"
    ) in inbox.slack[-1]


@pytest.mark.parametrize(
    ("after_m", "again", "minutes"),
    [(0, False, 10), (4, False, 6), (60, False, 1), (60, True, 30)],  # a deadline of ten minutes; half an hour to answer
)
def test_an_approval_request_ends_with_the_deadline_but_a_later_one_has_its_whole_time(play, after_m, again, minutes):
    run = play(FakeEngine(), "approval: required")
    opened = read(store_at(str(STORE)), run.xcom("freeze_run"), RunDocument)
    task = TaskContext("decide", opened, store_at(str(STORE)), {}, 0)
    evaluation = Evaluation(
        key="another" if again else task.key, verdict=Verdict(decision="keep", reason="worse"), number=1, allowed=None
    )

    assert patience(task, evaluation, opened.started + timedelta(minutes=after_m)) == timedelta(minutes=minutes)


def test_a_yes_after_the_time_is_a_no():
    verdict, until = Verdict(decision="promote", reason="better"), datetime(2026, 2, 1, 2, 25, tzinfo=UTC)
    given = {
        "chosen_options": ["Release version 7"],
        "params_input": {"reason": None},
        "responded_by_user": {"id": "1", "name": "ada"},
    }

    verdicts = [with_answer(verdict, 7, {**given, "responded_at": until + timedelta(minutes=late)}, until) for late in (0, 10)]

    assert [verdict.goes_on for verdict in verdicts] == [True, False]
    assert verdicts[1].approval.reason == "the yes came after 2026-02-01 02:25 UTC, too late"
