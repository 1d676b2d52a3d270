"""What a newer, or an older, version of this project has stored: read where it can be, else refused with what to upgrade."""

import json
from pathlib import Path

import pytest

from contract import documents
from contract.base_model import Versioned
from contract.documents import Failure
from contract.errors import TooNew
from contract.store.local import LocalStore
from release.controller.local_state import LocalRecord, LocalState
from release.controller.loop import Controller
from release.controller.reconciler import Reconciler
from release.ledger.entries import Entry, Outcome
from release.ledger.ledger import Ledger, LedgerBroken, OutcomeEntry
from release.ledger.requests import (
    CheckRequest,
    ReleaseRequest,
    RollbackRequest,
    SwitchRequest,
    UnknownRequest,
    UnquarantineRequest,
)
from tests.golden_formats import golden_files, read_golden
from tests.release.fakes import FakeWorld, Inline, MemoryStore, a_request, digest_of

KINDS: dict[str, type[Versioned]] = {
    "check_request": CheckRequest,
    "entry": Entry,
    "local_record": LocalRecord,
    "outcome": Outcome,
    "outcome_entry": OutcomeEntry,
    "release_request": ReleaseRequest,
    "rollback_request": RollbackRequest,
    "switch_request": SwitchRequest,
    "unquarantine_request": UnquarantineRequest,
}


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    return FakeWorld(tmp_path)


@pytest.mark.parametrize("path", golden_files(KINDS), ids=lambda path: path.stem)
def test_every_format_is_read(path: Path) -> None:
    read, expected = read_golden(path, KINDS)
    assert read == expected


class Renamed(Versioned):
    """A kind whose second format calls `colour` what the first called `color`."""

    UPGRADES = (lambda stored: {"colour": stored["color"]},)
    format: int = 2
    colour: str


@pytest.mark.parametrize(
    ("stored", "colour"),
    [({"color": "red"}, "red"), ({"format": 1, "color": "red"}, "red"), ({"format": 2, "colour": "blue"}, "blue")],
)
def test_an_older_format_is_upgraded(stored: dict, colour: str) -> None:
    assert documents.parse(Renamed, json.dumps(stored)).model_dump() == {"format": 2, "colour": colour}


def test_a_newer_format_is_refused_with_the_side_to_upgrade() -> None:
    sentence = "Renamed of format 3 was written by a newer version of this project, and the serving host reads up to format 2: "
    with pytest.raises(TooNew, match=sentence + "upgrade the serving host"):
        documents.parse(Renamed, '{"format": 3}')


def test_what_code_makes_stays_strict() -> None:
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        Failure(step="train", reason="", colour="red")


def change_last(world: FakeWorld, **changes: object) -> None:
    """As if a newer version had written the last entry."""
    path = max(path for path in world.store.files if path.startswith("ledger/late/0"))
    stored = json.loads(world.store.files[path])
    stored["state"] |= changes.pop("state", {})
    world.store.files[path] = json.dumps(stored | changes).encode()


def test_a_future_field_is_kept_while_releases_go_on(world: FakeWorld) -> None:
    world.put_live(1)
    world.restart()
    change_last(world, state={"regions": ["eu"]})
    live = json.loads(world.store.files[max(p for p in world.store.files if p.startswith("ledger/late/0"))])["state"]["live"]
    change_last(world, state={"live": live | {"provenance": "slsa"}})
    world.outcome(a_request("check", 2))
    assert world.outcome(a_request("release", 2, expected_live=digest_of(1))).done

    last = world.ledger.last("late").model_dump(mode="json")
    assert last["state"]["regions"] == ["eu"]
    assert last["state"]["previous"]["provenance"] == "slsa"


class OneVersionAhead:
    """The store as the next version of this project uses it: it writes one more optional field in each object of an entry."""

    def __init__(self, store: MemoryStore) -> None:
        self.root, self.read, self.names = store.root, store.read, store.names
        self._store = store

    def create(self, path: str, content: bytes) -> bool:
        return self._store.create(path, json.dumps(self._extended(json.loads(content))).encode())

    def _extended(self, value: object) -> object:
        if isinstance(value, list):
            return [self._extended(item) for item in value]
        if isinstance(value, dict):
            fields = {name: self._extended(item) for name, item in value.items()}
            return fields | ({"added": 1} if "format" in value or "queue" in value or "phase" in value else {})
        return value


@pytest.mark.parametrize("newer", ["Airflow", "the controller"])
def test_a_release_goes_through_while_one_side_is_a_version_ahead(world: FakeWorld, newer: str) -> None:
    """The side behind reads and writes format 1, as its golden files hold it; what the other added is in the last state."""
    world.put_live(1)
    ahead = Ledger(OneVersionAhead(world.store))
    if newer == "Airflow":
        world.ledger = ahead
    else:
        world.controller = Controller(ahead, Reconciler(world.parts, Inline()), world.controller._serving, world.clock)

    assert world.outcome(a_request("check", 2)).done
    assert world.outcome(a_request("release", 2, expected_live=digest_of(1))).release.outcome == "released"
    assert world.outcome(a_request("rollback")).done

    last = Ledger(world.store).last("late").model_dump(mode="json")
    assert (last["state"]["live"]["digest"], last["state"]["added"]) == (digest_of(1), 1)


@pytest.mark.parametrize("future", [{"kind": "shadow"}, {"kind": "release", "format": 2}])
def test_a_request_of_a_future_kind_is_refused_and_others_go_on(world: FakeWorld, future: dict) -> None:
    world.put_live(1)
    strange = {"id": "s", "model": "late", "who": "airflow", "why": "a newer one", "percent": 10} | future
    change_last(world, state={"queue": [strange]})
    (kept,) = world.ledger.last("late").state.queue
    assert isinstance(kept, UnknownRequest)
    assert kept.model_dump()["percent"] == 10

    outcome = world.outcome(a_request("check", 2))
    assert outcome.done
    refused = world.ledger.outcome("late", "s")
    assert (refused.done, refused.kind) == (False, future["kind"])
    assert refused.reason.endswith(f"({future['kind']}): upgrade the serving host")


def test_an_entry_of_a_future_format_stops_releases_and_says_what_to_upgrade(world: FakeWorld) -> None:
    world.put_live(1)
    change_last(world, format=2)

    with pytest.raises(LedgerBroken, match=r"Entry of format 2 .*: upgrade the serving host; releases wait until then"):
        Ledger(world.store).request(a_request("check", 2))


def test_a_controller_that_is_older_than_its_own_copy_does_not_start(tmp_path: Path, world: FakeWorld) -> None:
    world.put_live(1)
    folder = tmp_path / "copies"
    LocalState(folder).put("late", LocalRecord(entry=world.ledger.last("late")))
    path = folder / "late.json"
    path.chmod(0o644)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))

    with pytest.raises(TooNew, match="upgrade the serving host"):
        LocalState(folder)


def test_an_entry_that_came_after_another_one_breaks_the_ledger(world: FakeWorld) -> None:
    world.put_live(1)
    change_last(world, previous="0" * 32)

    with pytest.raises(LedgerBroken, match="is not the one that entry 10 names as its predecessor"):
        list(Ledger(world.store).entries("late"))


def test_an_outcome_is_found_by_its_request_however_old(tmp_path: Path) -> None:
    world = FakeWorld(tmp_path)
    world.put_live(1)
    first = next(entry for entry in world.ledger.entries("late") if entry.outcomes)
    stored = json.loads(world.store.files[f"ledger/late/outcomes/{first.outcomes[0].request}.json"])

    assert stored == {"format": 1, "entry": first.n}


def test_a_ledger_of_more_than_a_thousand_entries(tmp_path: Path) -> None:
    from release.ledger.entries import Draft, State

    store = LocalStore(str(tmp_path))
    ledger, last = Ledger(store), None
    for _ in range(1001):
        last = ledger.append("late", last, Draft(who="a", why="", what="", state=State()))

    assert store.names("ledger/late") == ["00000", "00001"]
    assert store.names("ledger/late/00001") == ["00001000.json", "00001001.json"]
    assert Ledger(store).last("late") == last
