"""Whole runs of one model: what each ends with, what it leaves, and its notifications."""

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.documents import Image, RunDocument, read
from contract.store.factory import store_at
from plugins.retraining.catalog import load_model
from plugins.retraining.dag import dag_for, longest_wait
from plugins.retraining.engines.base import Application, Submission
from plugins.retraining.operators import base
from plugins.retraining.task_log import Log
from release.decisions.canary import PROBE_WITHIN, PROMOTE_WITHIN, SHIFT_WITHIN
from release.decisions.state_machine import START_WITHIN
from release.ledger.commands import submit
from release.ledger.ledger import Ledger
from tests.plugins.conftest import BUNDLE, HOME, Inbox
from tests.plugins.fakes import FakeEngine
from tests.plugins.runner import Run, start
from tests.plugins.stand_in_job import VERSION
from tests.release.fake_controller import FakeController

STORE = HOME / "store"
FIRST = datetime(2013, 6, 1, 6, tzinfo=UTC)
SECOND = datetime(2013, 6, 15, 6, tzinfo=UTC)
THIRD = datetime(2013, 6, 16, 6, tzinfo=UTC)
ALL_DONE = dict.fromkeys(("freeze_run", "validate", "train", "compare", "decide", "package", "check", "release"), "success")
BEFORE_THE_REST = dict.fromkeys(("package", "check", "release"), "skipped")


@pytest.fixture
def play(airflow: None, bundle: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Starts a run of the model `late` on an empty store, with these stand-ins beside it."""
    monkeypatch.setattr(base.WaitingStep, "poke_s", 0.1)
    monkeypatch.setattr(base.CheckStep, "patience_s", 0)
    shutil.rmtree(STORE, ignore_errors=True)
    path = bundle / "dags" / "models" / "late.yaml"

    def begin(engine: FakeEngine | None = None, kind: str = "manual", conf: dict | None = None, **outcomes: str) -> Run:
        chosen = engine or FakeEngine()
        controller = FakeController(store_at(str(STORE)), **outcomes)
        return start(dag_for(path, lambda spark: chosen), controller.reconcile, kind=kind, due=SECOND, conf=conf).go()

    return begin


def test_a_better_model_goes_live_and_people_hear_of_it(play, inbox):
    run = play()

    image = read(store_at(str(STORE)), run.xcom("package"), Image)
    assert (run.state, run.states()) == ("success", ALL_DONE)
    assert Ledger(store_at(str(STORE))).champion("late") == image
    assert (image.version, image.as_of) == (VERSION, SECOND)
    assert run.xcom("decide", "document")["decision"] == "promote"
    assert run.xcom("train", "_link_MlflowLink") == "http://mlflow.example/#/runs/r1"
    assert run.xcom("release", "_link_EndpointLink") == "http://127.0.0.1:8000/late/"
    assert inbox.slack == ["*late: version 7 is live*\nall steps held\nEndpoint: http://127.0.0.1:8000/late/"]


@pytest.mark.parametrize(("patience_s", "rescheduled"), [(0, True), (60, False)])
def test_a_check_that_ends_soon_is_waited_for_without_giving_the_slot_back(play, monkeypatch, patience_s, rescheduled):
    monkeypatch.setattr(base.CheckStep, "patience_s", patience_s)
    controller, over = FakeController(store_at(str(STORE))), threading.Event()
    beside = threading.Thread(target=lambda: [controller.reconcile() for _ in iter(lambda: over.wait(0.5), True)])
    beside.start()

    run = play()

    over.set()
    beside.join()
    assert (run.states()["check"], run.was_rescheduled("check")) == ("success", rescheduled)


def test_bad_data_stops_at_validate_at_the_first_try_with_the_jobs_own_sentence(play, inbox):
    run = play(FakeEngine(validate="bad data"))

    assert run.state == "failed"
    assert run.states()["validate"] == "failed"
    assert set(run.states().values()) == {"success", "failed", "upstream_failed"}
    assert run.tries()["validate"] == 1
    assert Ledger(store_at(str(STORE))).champion("late") is None
    assert inbox.slack[0].startswith("*late: stopped at validate*\nparcels: 3 of 5 rows have no weight\nNothing was changed")
    assert [(mail.to, mail.subject) for mail in inbox.mail] == [("parcels@example.com", "late: stopped at validate")]
    assert "parcels: 3 of 5 rows have no weight" in inbox.mail[0].body


def test_after_the_data_was_mended_clearing_validate_does_it_anew_and_the_run_goes_live(play):
    engine = FakeEngine(validate="bad data")
    run = play(engine)

    engine.behaviour["validate"] = "well"
    run.clear("validate").go()

    assert (run.state, run.states()) == ("success", ALL_DONE)
    assert engine.ran == ["validate", "validate", "train", "compare"]


@pytest.mark.parametrize(("compare", "decision"), [("worse", "keep"), ("unclear", "inconclusive")])
def test_without_a_promotion_the_run_ends_green_with_the_reason_on_its_task(play, inbox, compare, decision):
    run = play(FakeEngine(compare=compare))

    assert (run.state, run.states()) == ("success", ALL_DONE | BEFORE_THE_REST)
    assert run.xcom("decide", "document")["decision"] == decision
    assert run.xcom("decide", "reason").startswith(f"{decision}: ")
    assert run.xcom("decide", "return_value").startswith("runs/late/")
    assert inbox.slack[0].startswith(f"*late: stopped at decide*\n{decision}: ")


def test_clearing_what_a_verdict_has_skipped_does_not_get_round_it(play):
    run = play(FakeEngine(compare="worse"))

    run.clear("package").go()

    assert run.states() == ALL_DONE | BEFORE_THE_REST
    assert Ledger(store_at(str(STORE))).champion("late") is None


def test_a_broken_image_stops_at_check(play, inbox):
    run = play(check="row 3: 0.9 instead of 0.1")

    assert run.state == "failed"
    assert [run.states()[step] for step in ("package", "check", "release")] == ["success", "failed", "upstream_failed"]
    assert inbox.slack[0].startswith("*late: stopped at check*\nrow 3: 0.9 instead of 0.1\n")


def test_a_release_that_misbehaves_fails_once_and_people_read_that_it_was_rolled_back(play, inbox):
    run = play(release="at 50 %: 7 of 100 requests failed")

    assert (run.state, run.states()["release"], run.tries()["release"]) == ("failed", "failed", 1)
    assert Ledger(store_at(str(STORE))).champion("late") is None
    assert inbox.slack[0].startswith(
        "*late: rolled back*\nat 50 %: 7 of 100 requests failed; nothing served before, so requests are answered 503\n"
        "All traffic is back on the previous version.\n"
        "What to do: Read the reason, then trigger a new run; or `unquarantine` the version and clear `check` to try it again.\n"
    )


def test_airflow_waits_for_a_release_for_as_long_as_the_controller_may_take(bundle):
    spec = load_model(bundle / "dags" / "models" / "late.yaml").spec
    serving = spec.serving.model_copy(update={"canary": (1, 5, 10, 25, 50, 100), "hold": timedelta(seconds=20)})
    busy = spec.model_copy(update={"serving": serving})

    slowest_step = SHIFT_WITHIN + serving.longest_hold + PROBE_WITHIN

    assert longest_wait(busy) >= START_WITHIN + 6 * slowest_step + serving.longest_hold + PROMOTE_WITHIN
    assert longest_wait(busy.model_copy(update={"deadline": timedelta(days=1)})) == timedelta(days=1)


def test_clearing_the_check_of_a_rolled_back_release_tries_it_anew_once_it_is_out_of_quarantine(play):
    run, store = play(release="at 50 %: 7 of 100 requests failed"), store_at(str(STORE))
    run.reconcile.__self__.release = "well"

    assert run.clear("check").go().states()["check"] == "failed"
    submit(store, "unquarantine", "late", "ada", "the network was slow", VERSION)
    run.clear("check").go()

    assert (run.state, Ledger(store).champion("late").version) == ("success", VERSION)


def test_a_backfill_ends_at_its_verdict_and_tells_nobody(play, inbox):
    run = play(kind="backfill")

    opened = read(store_at(str(STORE)), run.xcom("freeze_run"), RunDocument)
    assert (run.state, run.states()) == ("success", ALL_DONE | BEFORE_THE_REST)
    assert (opened.backfill, opened.as_of) == (True, SECOND)
    assert run.xcom("decide", "reason").startswith("a backfill never releases; its verdict would be: log_loss improves")
    assert (inbox.slack, inbox.mail, Ledger(store_at(str(STORE))).models()) == ([], [], [])


def test_params_set_the_time_the_data_and_whether_to_release(play):
    run = play(conf={"as_of": "2013-05-01T02:00:00+02:00", "data": "elsewhere", "release": False})

    opened = read(store_at(str(STORE)), run.xcom("freeze_run"), RunDocument)
    assert opened.as_of == datetime(2013, 5, 1, tzinfo=UTC)
    assert opened.platform.data == str(HOME.resolve() / "elsewhere")
    assert run.states() == ALL_DONE | BEFORE_THE_REST


def test_a_misspelled_param_is_refused_before_anything_is_done(play, inbox):
    run = play(conf={"asof": "2013-05-01T00:00:00Z"})

    assert (run.states()["freeze_run"], run.tries()["freeze_run"]) == ("failed", 1)
    assert inbox.slack[0].startswith("*late: stopped at freeze_run*\nasof: unknown param (did you mean 'as_of'?)\n")


def test_the_next_run_is_compared_with_what_is_live_and_an_older_one_is_not_released(play, inbox):
    store = store_at(str(STORE))
    engine = FakeEngine()
    path = BUNDLE / "dags" / "models" / "late.yaml"
    play(engine)
    reconcile = FakeController(store).reconcile
    live = Ledger(store).champion("late")

    older = start(dag_for(path, lambda spark: engine), reconcile, due=FIRST).go()
    newer = start(dag_for(path, lambda spark: engine), reconcile, due=THIRD).go()

    assert older.states() == ALL_DONE | BEFORE_THE_REST
    assert older.xcom("decide", "reason") == (
        "not released: as of 2013-06-01 06:00 is not later than the live version 7, as of 2013-06-15 06:00"
    )
    assert newer.xcom("freeze_run", "document")["champion"]["digest"] == live.digest
    assert newer.xcom("release", "document")["previous"] == live.digest


def test_clearing_a_step_does_it_and_what_follows_anew_from_what_was_frozen(play):
    engine = FakeEngine()
    run = play(engine, release="not today")
    opened = run.xcom("freeze_run")

    run.clear("compare").go()

    assert engine.ran == ["validate", "train", "compare", "compare"]
    assert run.xcom("freeze_run") == opened


class ClusterEngine(FakeEngine):
    """Its first application stays at work on compare until it is stopped."""

    waits_in_task = False

    def __init__(self) -> None:
        super().__init__(compare="dies")
        self.stopped: list[str] = []
        self.pokes_of_compare = 0

    def find(self, tag: str, live: bool = False) -> list[Application]:
        tagged = [application for application in self.applications.values() if tag in application.tags]
        self.pokes_of_compare += sum(application.phase == "running" for application in tagged)
        return [application for application in tagged if application.phase == "running" or not live]

    def submit(self, submission: Submission, log: Log) -> str:
        id = super().submit(submission, log)
        if self.behaviour["compare"] == "dies":
            self.applications[id] = replace(self.applications[id], phase="running")
            self.behaviour["compare"] = "well"
        return id

    def stop(self, id: str) -> None:
        self.stopped.append(id)
        self.applications[id] = replace(self.applications[id], phase="ended", diagnostics="killed by user")


def test_train_cleared_alone_while_compare_is_at_work_submits_both_anew_and_compare_waits(play):
    engine, reconcile = ClusterEngine(), FakeController(store_at(str(STORE))).reconcile
    play(FakeEngine(validate="bad data"))  # an empty store, and the services
    run = start(dag_for(BUNDLE / "dags" / "models" / "late.yaml", lambda spark: engine), reconcile, due=THIRD)

    run.go(until=lambda: engine.pokes_of_compare > 1)
    run.clear("train", downstream=False).go()

    assert (run.state, run.states()) == ("success", ALL_DONE)
    assert engine.submissions == ["validate+train+compare", "train+compare"]
    assert engine.stopped == ["application_1"]
    assert (run.tries()["validate"], run.tries()["compare"]) == (1, 1)


def test_a_run_that_is_deleted_and_made_again_under_its_id_does_all_of_its_work(play):
    engine = FakeEngine()
    first = play(engine)
    first_opened = first.xcom("freeze_run")

    first.delete()
    again = start(first.dag, first.reconcile, due=THIRD, run_id=first.run_id).go()

    assert engine.ran == ["validate", "train", "compare"] * 2
    assert again.xcom("freeze_run") != first_opened
    assert again.states() == ALL_DONE


@pytest.mark.parametrize(("step", "compare"), [("decide", "worse"), ("release", "well")])
def test_a_try_after_one_that_was_killed_does_not_tell_people_again(play, inbox, step, compare):
    run = play(FakeEngine(compare=compare))
    states = run.states()

    run.kill(step).go()

    assert (run.states(), run.tries()[step]) == (states, 2)
    assert len(inbox.slack) == len(inbox.mail) == 1


@pytest.mark.parametrize(("step", "compare"), [("decide", "worse"), ("release", "well")])
def test_a_try_that_was_killed_before_its_notification_leaves_that_to_the_next(play, inbox, step, compare):
    run = play(FakeEngine(compare=compare))
    next(STORE.rglob(f"{step}-*.notified.json")).unlink()

    run.kill(step).go()

    first, second = (text.splitlines()[:2] for text in inbox.slack)
    assert first == second
