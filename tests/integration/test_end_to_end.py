"""Whole runs through the real services: released, approved and released under traffic, cleared, backfilled."""

from datetime import timedelta

import pytest

from contract.comparison import Verdict
from contract.documents import Image, read
from tests.integration.product import MODEL, Product, Run
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900, func_only=True)]


def test_the_first_run_releases_its_version(first):
    assert first.run == Run("success", dict.fromkeys(first.run.tasks, "success"))
    assert (first.champion.version, first.alias, first.serving) == (1, 1, "1")


def test_the_next_version_waits_for_a_person_and_arrives_while_clients_ask_and_none_of_them_fails(live: Product):
    old = live.ledger.champion(MODEL)
    with live.traffic() as tally:
        run = asks_a_person(live)
        assert live.ledger.champion(MODEL) == old
        version = live.airflow.named_xcom(run, "train", "document")["version"]
        live.airflow.answer(run, "decide", f"Release version {version}", "looks right")
        assert live.ended(run).state == "success"
    new = live.ledger.champion(MODEL)
    assert tally.failures == []
    assert set(tally.versions) == {str(old.version), str(new.version)}
    assert new.version == version
    assert_live(live, new, old)
    assert_answer_recorded(live, new)

    live.airflow.clear(MODEL, run, "package")  # the same version again: the same image, which is live already
    assert live.ended(run) == Run("success", dict.fromkeys(live.ended(run).tasks, "success"))
    assert live.ledger.champion(MODEL) == new
    assert live.serving_version() == str(new.version)


def asks_a_person(live: Product) -> str:
    path = live.checkout.folder / "dags/models/trip_delay.yaml"
    text = path.read_text()
    path.write_text(text.replace("margin: 0.5}", "margin: 0.5, approval: required}"))
    try:
        run = live.trigger()
        live.await_task(run, "decide", "awaiting_input")
    finally:
        path.write_text(text)
    assert len(live.messages("approval needed")) == 2  # by mail and Slack
    return run


def assert_live(live: Product, new: Image, old: Image) -> None:
    assert live.serving_version() == str(new.version) != str(old.version)
    assert live.alias.get(MODEL) == new.version
    assert live.router.seen(MODEL) == {new.digest: 100}
    entries = live.ledger.entries(MODEL)
    ended = [outcome for entry in entries for outcome in entry.outcomes if new.digest in outcome.model_dump_json()]
    assert [outcome.kind for outcome in ended] == ["release", "check"]
    assert ended[0].release.previous == old.digest
    notifications = live.messages(f"version {new.version} is live")
    assert sorted(message.split()[1] for message in notifications) == ["mail", "slack"]


def assert_answer_recorded(live: Product, new: Image) -> None:
    """Who answered what and why: in the version's tags and on the verdict's page."""
    tags = live.version_tags(new.version)
    assert (tags["verdict"], tags["approval"], tags["approval.by"], tags["approval.reason"]) == (
        "promote",
        "yes",
        "admin",
        "looks right",
    )
    page = live.artifact(new.labels["retraining.mlflow_run"], "verdict.html")
    assert "<b>admin</b> said yes" in page
    assert tags["verdict.reason"] in page


def test_a_backfill_ends_at_its_verdicts_and_releases_nothing(live: Product):
    until(lambda: live.ledger.last(MODEL).state.probation is None, "the probation is over, whose end is an entry", seconds=30)
    champion, entries = live.ledger.champion(MODEL), live.ledger.last(MODEL).n
    first = champion.as_of.replace(hour=0) + timedelta(days=1)
    live.airflow.backfill(first, first + timedelta(days=2, seconds=-1))
    runs = live.airflow.runs("backfill")
    assert len(runs) == 2
    for run in runs:
        ended = live.ended(run)
        assert (ended.state, ended.tasks["decide"], ended.tasks["package"]) == ("success", "success", "skipped")
        assert read(live.store, live.airflow.xcom(MODEL, run, "decide"), Verdict).decision == "promote"
        assert live.airflow.named_xcom(run, "decide", "reason").startswith("a backfill never releases; its verdict would be: ")
    assert live.ledger.last(MODEL).n == entries
