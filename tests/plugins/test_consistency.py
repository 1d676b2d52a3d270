"""The ledger compared with what can be seen from Airflow, and the notifications that no run waits for."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from contract.documents import Image
from contract.platform import Platform
from contract.serving import Serving
from contract.store.base import Store
from contract.store.local import LocalStore
from images.layout import Layout
from images.oci import CONFIG, MANIFEST
from plugins.retraining.catalog import platform_for
from plugins.retraining.maintenance.consistency import Difference, confirmed, differences
from plugins.retraining.maintenance.dags import CheckConsistencyStep, reconcile_dag
from plugins.retraining.maintenance.notifications import MAX_UNMARKED, send_notifications
from release.ledger.entries import Draft, Promoting, State
from release.ledger.ledger import Ledger
from release.ledger.requests import KINDS
from tests.plugins import services
from tests.plugins.conftest import HOME
from tests.plugins.runner import Run, start

STORE = HOME / "store"
NOW = datetime(2013, 6, 15, 6, tzinfo=UTC)
CHAMPION = "/api/2.0/mlflow/registered-models/alias"


class World(NamedTuple):
    """`answers` is path: status and content; `alias` model: version; both may change between requests."""

    platform: Platform
    layout: Layout
    answers: dict[str, tuple[int, str]]
    alias: dict[str, int | str]

    def image(self, version: int, model: str = "late") -> Image:
        config = self.layout.put(CONFIG, json.dumps({"version": version}).encode())
        digest = self.layout.put(MANIFEST, json.dumps({"mediaType": MANIFEST, "config": config, "layers": []}).encode())["digest"]
        reference = self.layout.reference(digest)
        return Image(model=model, version=version, as_of=NOW, digest=digest, reference=reference, size=1, labels={})

    def show(self, live: Image, previous: Image | None = None, model: str = "late") -> None:
        """All is as it should be while this is live."""
        self.answers[f"/{model}/version"] = 200, json.dumps({"model": model, "version": str(live.version), "digest": live.digest})
        self.alias[model] = live.version
        self.layout.name(live.digest, "production")
        if previous:
            self.layout.name(previous.digest, "previous")


@contextmanager
def served(answers: dict[str, tuple[int, str]], alias: dict[str, int | str]) -> Iterator[str]:
    class Handler(services.Quiet):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            status, content = answers.get(path, (404, "no such model"))
            if path == CHAMPION:
                version = alias.get(query.partition("name=")[2].partition("&")[0])
                known = {"model_version": {"version": str(version)}}
                status = 200 if version else 404
                content = json.dumps(known if version else {"error_code": "RESOURCE_DOES_NOT_EXIST"})
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content.encode())

    with services.serving(services.on_a_free_port(ThreadingHTTPServer, Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def world(bundle: Path, tmp_path: Path) -> Iterator[World]:
    shutil.rmtree(STORE, ignore_errors=True)
    answers, alias = {}, {}
    platform = platform_for(bundle / "dags" / "models" / "late.yaml")
    with served(answers, alias) as url:
        here = {"mlflow": url, "serving": platform.serving.model_copy(update={"url": url})}
        yield World(platform.model_copy(update=here), Layout(tmp_path / "images" / "late"), answers, alias)


@pytest.fixture
def store() -> Store:
    return LocalStore(str(STORE))


def record(store: Store, notification: str = "", model: str = "late", **state: object) -> int:
    ledger = Ledger(store)
    draft = Draft(who="test", why="test", what="test", state=State(**state), notification=notification)
    return ledger.append(model, ledger.last(model), draft).n


def sentences(world: World, store: Store) -> list[str]:
    return [difference.sentence.replace(world.platform.mlflow, "URL") for difference in differences(world.platform, store)]


def release_of(image: Image, kind: str = "release") -> Promoting:
    about = {"id": "r", "model": "late", "image": image, "golden": "g", "serving": Serving(), "who": "airflow", "why": "a run"}
    return Promoting(request=KINDS[kind](**about), image=image, since=NOW, percent=100)


def test_a_world_that_is_as_the_ledger_says_has_no_difference(world, store):
    six, seven = world.image(6), world.image(7)
    record(store, live=seven, previous=six)
    world.show(seven, six)

    assert sentences(world, store) == []


def test_a_model_that_never_was_live_needs_nothing(world, store):
    record(store)

    assert sentences(world, store) == []


def test_each_component_that_differs_is_one_sentence(world, store):
    six, seven = world.image(6), world.image(7)
    record(store, live=seven, previous=six)
    world.show(six)

    assert sentences(world, store) == [
        f"late: MLflow's alias champion is version 6, but version 7 ({seven.digest}) is live",
        f"late: the image tagged production is {six.digest}, but the ledger's is version 7 ({seven.digest})",
        f"late: the image tagged previous is missing, but the ledger's is version 6 ({six.digest})",
        f"late: URL/late answers as version 6 ({six.digest}), but version 7 ({seven.digest}) is live",
    ]


@pytest.mark.parametrize(
    ("answer", "summary"),
    [
        ((503, "no available server"), "answers 503"),
        ((200, "<html>"), "does not answer as a model server does"),
        ((200, '{"version": "7", "digest": null}'), "answers as version 7 (None)"),
    ],
)
def test_what_is_no_answer_of_the_live_version_is_reported(world, store, answer, summary):
    seven = world.image(7)
    record(store, live=seven)
    world.show(seven)
    world.answers["/late/version"] = answer

    assert sentences(world, store) == [f"late: URL/late {summary}, but version 7 ({seven.digest}) is live"]


def test_what_answers_though_nothing_is_live_is_reported(world, store):
    seven = world.image(7)
    world.show(seven)
    record(store)

    assert sentences(world, store) == [f"late: URL/late answers as version 7 ({seven.digest}), but nothing is live"]


def test_during_a_release_only_what_is_neither_side_is_reported(world, store):
    five, six, seven = world.image(5), world.image(6), world.image(7)
    record(store, live=six, previous=five, active=release_of(seven))

    world.show(seven, six)
    assert sentences(world, store) == []
    world.show(six, five)
    assert sentences(world, store) == []
    world.alias.clear()
    world.answers["/late/version"] = 503, ""
    assert sentences(world, store) == []
    world.show(five)
    assert [sentence.partition(", but")[0] for sentence in sentences(world, store)] == [
        "late: MLflow's alias champion is version 5",
        f"late: the image tagged production is {five.digest}",
        f"late: URL/late answers as version 5 ({five.digest})",
    ]


def test_a_check_moves_nothing(world, store):
    six, seven = world.image(6), world.image(7)
    record(store, live=six, active=release_of(seven, "check"))
    world.show(six)
    world.alias["late"] = 7

    assert sentences(world, store) == [f"late: MLflow's alias champion is version 7, but version 6 ({six.digest}) is live"]


def test_a_broken_ledger_is_reported_and_the_other_models_are_compared(world, store):
    seven = world.image(7)
    record(store, live=seven)
    world.show(seven)
    store.create("ledger/early/00000/00000002.json", b"{}")

    assert sentences(world, store) == [
        f"{STORE}/ledger/early/00000/00000001.json is missing: restore it from a backup; releases wait until then"
    ]


def test_an_unreachable_component_is_one_difference_for_all_models(world, store):
    for model in ("early", "late"):
        record(store, model=model, live=world.image(7, model))
    world.layout.name(world.image(7).digest, "production")
    nowhere = "http://127.0.0.1:1"
    away = world.platform.model_copy(
        update={"mlflow": nowhere, "serving": world.platform.serving.model_copy(update={"url": nowhere})}
    )

    assert [difference.sentence for difference in differences(away, store)] == [
        f"MLflow could not be reached: {nowhere}{CHAMPION} does not answer (ConnectError)",
        f"router could not be reached: {nowhere}/early/version cannot be reached from here (ConnectError)",
    ]


def test_another_server_at_mlflows_address_is_out_of_reach_as_well(world, store):
    record(store, live=world.image(7))
    world.show(world.image(7))
    elsewhere = world.platform.model_copy(update={"mlflow": f"{world.platform.mlflow}/late/version?"})

    assert "MLflow could not be reached" in [difference.text for difference in differences(elsewhere, store)]


def test_only_what_two_observations_see_is_confirmed():
    one, two, three = (Difference("router", text) for text in ("one", "two", "three"))
    observations = iter([[one, two], [two._replace(detail="again"), three]])

    assert confirmed(lambda: next(observations), delay_s=0) == [two._replace(detail="again")]
    assert confirmed(lambda: []) == []


# The DAG.


@pytest.fixture
def go(airflow: None, bundle: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Run]:
    monkeypatch.setattr(CheckConsistencyStep, "recheck_delay_s", 0.01)
    dag = reconcile_dag(world.platform, bundle / "dags" / "models")
    return lambda: start(dag, lambda: None, due=NOW).go()


def test_a_difference_fails_the_task_and_is_notified_once_a_day(go, world, store, inbox):
    six, seven = world.image(6), world.image(7)
    record(store, live=seven)
    world.show(seven)
    world.alias["late"] = 6

    assert [go().states() for _ in range(2)] == [{"notify": "success", "compare_with_ledger": "failed"}] * 2
    sentence = f"late: MLflow's alias champion is version 6, but version 7 ({seven.digest}) is live"
    assert [text.splitlines()[:2] for text in inbox.slack] == [["*ledger and MLflow differ*", sentence]]
    world.layout.name(six.digest, "production")
    assert go().state == "failed"
    assert [text.splitlines()[0] for text in inbox.slack] == ["*ledger and MLflow differ*", "*ledger and images differ*"]
    world.show(seven)
    assert go().states() == {"notify": "success", "compare_with_ledger": "success"}
    assert (len(inbox.slack), inbox.mail) == (2, [])


def test_a_notification_reaches_the_models_recipients_once(go, world, store, inbox):
    seven = world.image(7)
    world.show(seven)
    record(store, live=seven)
    record(store, live=seven, notification="version 8 of late was taken back in its probation: 9 of 100 requests failed")
    record(store, live=seven)

    assert [go().state for _ in range(2)] == ["success"] * 2
    assert [text.splitlines()[:2] for text in inbox.slack] == [
        [
            "*late: version 8 of late was taken back in its probation*",
            "version 8 of late was taken back in its probation: 9 of 100 requests failed",
        ]
    ]
    assert [mail.to for mail in inbox.mail] == ["parcels@example.com"]
    assert store.names("notifications/late") == ["2.json"]


def test_a_notification_of_a_model_without_a_valid_file_reaches_the_platforms_slack(go, store, inbox):
    for model in ("gone", "wrong"):
        record(store, model=model, notification=f"releases of {model} are frozen: 3 rollbacks within 7 days")

    go()

    subjects = sorted(text.splitlines()[0] for text in inbox.slack if "frozen" in text)
    assert subjects == ["*gone: releases of gone are frozen*", "*wrong: releases of wrong are frozen*"]
    assert inbox.mail == []


# Notifications of a ledger.


def sent_notifications(store: Store, now: datetime | None = None) -> list[str]:
    sent: list[str] = []
    send_notifications(store, Ledger(store), "late", now or datetime.now(UTC), lambda entry: sent.append(entry.notification))
    return sent


def test_notifications_are_sent_in_order_and_later_ones_by_themselves(store):
    shutil.rmtree(STORE, ignore_errors=True)
    record(store, notification="one")
    record(store, notification="two")

    assert sent_notifications(store) == ["one", "two"]
    record(store)
    record(store, notification="three")
    assert sent_notifications(store) == ["three"]
    assert sent_notifications(store) == []


def test_what_is_a_day_old_is_not_sent(store):
    shutil.rmtree(STORE, ignore_errors=True)
    record(store, notification="one")

    assert sent_notifications(store, datetime.now(UTC) + timedelta(hours=25)) == []


def test_a_killed_task_tells_again_what_it_had_not_noted_and_nothing_else(store):
    shutil.rmtree(STORE, ignore_errors=True)
    for notification in ("one", "two", "three"):
        record(store, notification=notification)
    sent = []

    def send(entry) -> None:
        sent.append(entry.notification)
        if entry.notification == "two":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        send_notifications(store, Ledger(store), "late", datetime.now(UTC), send)
    assert (sent, sent_notifications(store)) == (["one", "two"], ["two", "three"])


def test_many_entries_without_a_notification_are_read_once(store):
    shutil.rmtree(STORE, ignore_errors=True)
    for _ in range(MAX_UNMARKED + 1):
        record(store)

    sent_notifications(store)

    assert store.names("notifications/late") == [f"{MAX_UNMARKED + 1}.json"]
