import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.documents import Image
from contract.store.local import LocalStore
from release.ledger.entries import Draft, Outcome, State
from release.ledger.ledger import Ledger, LedgerBroken
from release.ledger.requests import ReleaseRequest, Request, SwitchRequest

IMAGE = Image(
    model="late",
    version=7,
    as_of=datetime(2013, 6, 1, tzinfo=UTC),
    digest="sha256:7",
    reference="oci:/images@sha256:7",
    size=1,
    labels={},
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(LocalStore(str(tmp_path)))


def freeze(id: str) -> Request:
    return SwitchRequest(id=id, kind="freeze", model="late", who="ann", why="a holiday")


def file(ledger: Ledger, n: int) -> Path:
    return Path(ledger.store.root, f"ledger/late/00000/{n:08d}.json")


def ended(ledger: Ledger, id: str) -> None:
    outcome = Outcome(request=id, kind="freeze", done=True, reason="done")
    state = State(outcomes=(outcome,), live=IMAGE)
    ledger.append("late", ledger.last("late"), Draft(who="controller", why="", what="ended", state=state, outcomes=(outcome,)))


def test_a_model_nobody_asked_for_has_no_entry_and_no_champion(ledger):
    assert (ledger.models(), ledger.last("late"), ledger.champion("late"), ledger.outcome("late", "a")) == ([], None, None, None)


def test_a_request_is_queued_once_however_often_it_is_made(ledger):
    for id in ("a", "a", "b", "a"):
        ledger.request(freeze(id))
    assert [request.id for request in ledger.last("late").state.queue] == ["a", "b"]
    assert ledger.last("late").n == 2
    assert ledger.models() == ["late"]


def test_a_request_that_has_ended_is_not_made_again_even_if_its_outcome_is_old(ledger):
    ledger.request(freeze("a"))
    ended(ledger, "a")
    forgotten = ledger.last("late").state.model_copy(update={"outcomes": ()})
    ledger.append("late", ledger.last("late"), Draft(who="controller", why="", what="much later", state=forgotten))
    ledger.request(freeze("a"))
    assert ledger.last("late").n == 3
    assert ledger.outcome("late", "a").reason == "done"
    assert ledger.champion("late").version == 7


def test_a_new_request_does_not_read_a_ledger_of_years(ledger, monkeypatch):
    for n in range(1, 31):
        ended(ledger, f"old-{n}")
        entry = json.loads(file(ledger, n).read_text())
        entry["time"] = "2013-06-01T00:00:00Z"
        file(ledger, n).write_text(json.dumps(entry))
    assert ledger.last("late").n == 30
    read = []
    original = ledger.store.read
    monkeypatch.setattr(ledger.store, "read", lambda path: read.append(path) or original(path))

    assert ledger.outcome("late", "new") is None

    assert {path.rpartition("/")[2] for path in read} == {"00000030.json", "00000031.json", "new.json"}


def test_the_whole_ledger_is_listed_once_however_often_it_is_asked(ledger, monkeypatch):
    for id in "abc":
        ledger.request(freeze(id))
    listed, reader = [], Ledger(ledger.store)
    original = ledger.store.names
    monkeypatch.setattr(ledger.store, "names", lambda folder: listed.append(folder) or original(folder))

    assert reader.last("late").n == 3
    for id in "de":
        ledger.request(freeze(id))
    assert reader.last("late").n == 5
    assert [entry.n for entry in reader.entries("late")] == [5, 4, 3, 2, 1]

    assert listed == ["ledger/late", "ledger/late/00000"]


@pytest.mark.parametrize("newer", ["", "d"])
def test_an_entry_that_was_there_and_is_gone_breaks_the_ledger(ledger, newer):
    for id in "abc":
        ledger.request(freeze(id))
    assert ledger.last("late").n == 3
    if newer:
        Ledger(ledger.store).request(freeze(newer))
    file(ledger, 3).unlink()

    with pytest.raises(LedgerBroken, match=r"00000003\.json is missing: restore it from a backup"):
        ledger.last("late")


def test_who_comes_second_gets_no_number(ledger):
    ledger.request(freeze("a"))
    last = ledger.last("late")
    draft = Draft(who="controller", why="", what="first", state=last.state)
    assert ledger.append("late", last, draft).n == 2
    assert ledger.append("late", last, draft) is None
    assert [entry.what for entry in ledger.entries("late")] == ["first", "freeze requested"]


def test_a_clock_that_jumps_back_does_not_reorder_time(ledger):
    ledger.request(freeze("a"))
    entry = json.loads(file(ledger, 1).read_text())
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    file(ledger, 1).write_text(json.dumps(entry | {"time": tomorrow.isoformat()}))
    ledger.request(freeze("b"))
    assert ledger.last("late").time == tomorrow


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda ledger: file(ledger, 3).write_text('{"n": 3, "id'), "00000003.json cannot be trusted (Invalid JSON"),
        (lambda ledger: file(ledger, 3).write_text(""), "00000003.json cannot be trusted (Invalid JSON"),
        (lambda ledger: file(ledger, 3).write_bytes(file(ledger, 2).read_bytes()), "it says that it is entry 2): restore it"),
        (lambda ledger: file(ledger, 2).unlink(), "00000002.json is missing: restore it from a backup; releases wait"),
        (lambda ledger: file(ledger, 1).unlink(), "00000001.json is missing"),
        (lambda ledger: file(ledger, 3).rename(file(ledger, 3).with_suffix(".bak")), "00000003.bak is no ledger entry: move it"),
    ],
)
def test_a_broken_ledger_is_named_and_takes_nothing_new(ledger, harm, sentence):
    for id in "abc":
        ledger.request(freeze(id))
    harm(ledger)
    broken = Ledger(ledger.store)
    for use in (lambda: broken.last("late"), lambda: broken.request(freeze("d")), lambda: broken.champion("late")):
        with pytest.raises(LedgerBroken) as error:
            use()
        assert sentence in str(error.value)
        assert str(error.value).startswith(ledger.store.root)


def test_a_release_without_its_image_is_not_a_request():
    with pytest.raises(ValueError, match=r"(?s)3 validation errors for ReleaseRequest.*image.*golden.*serving"):
        ReleaseRequest(id="a", model="late", who="ann", why="")


WRITER = """
import sys
from contract.store.factory import store_at
from release.ledger.requests import SwitchRequest
from release.ledger.ledger import Ledger
ledger = Ledger(store_at(sys.argv[1]))
for i in range(int(sys.argv[3])):
    ledger.request(SwitchRequest(id=f"{sys.argv[2]}-{i}", kind="freeze", model="late", who=sys.argv[2], why="at once"))
    ledger.request(SwitchRequest(id=f"all-{i}", kind="freeze", model="late", who=sys.argv[2], why="the same by everybody"))
"""


def test_many_writers_at_once_lose_nothing_and_write_nothing_twice(store):
    ledger, count = Ledger(store), 4 if ":" in store.root else 12  # a request to a bucket, or to HDFS, costs milliseconds
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, ledger.store.root, name, str(count)]) for name in "pqrs"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0, 0]
    queue = [request.id for request in ledger.last("late").state.queue]
    assert sorted(queue) == sorted(f"{name}-{i}" for name in [*"pqrs", "all"] for i in range(count))
    entries = list(ledger.entries("late"))
    assert [entry.n for entry in entries] == list(range(5 * count, 0, -1))
    assert [entry.time for entry in entries] == sorted((entry.time for entry in entries), reverse=True)
