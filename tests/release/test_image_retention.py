"""Which images go: as a table, and in real repositories beside a real ledger."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contract.documents import Image
from contract.errors import StoreError
from contract.store.local import LocalStore
from images.oci import CONFIG, LAYER, MANIFEST, ImageDamaged, Repository, canonical
from images.references import repository_of
from images.signature import name_of
from release.ledger.entries import Draft, Quarantined, Shifting, State
from release.ledger.ledger import Ledger, LedgerBroken
from release.registries.image_retention import NotCleaned, clean, decide, needed, plan, plan_lines
from tests.release.fakes import MemoryStore, a_request, an_image, digest_of

FAR, SIG, SBOM = digest_of(99), digest_of(101), digest_of(102)


def attached(version: int, kind: str = "sig") -> str:
    return f"{digest_of(version).replace(':', '-')}.{kind}"


def goes(names: dict[str, str], needed: dict[str, str], keep: int = 2) -> list[str]:
    """The names that go."""
    return [name for entry in decide("late", 1, names, needed, keep).going for name in sorted(entry.names)]


V1_TO_4 = {f"v{version}": digest_of(version) for version in (1, 2, 3, 4)}


@pytest.mark.parametrize(
    ("names", "needed", "gone"),
    [
        ({}, {}, []),
        (V1_TO_4, {}, ["v1", "v2"]),
        (V1_TO_4, {digest_of(1): "live"}, ["v2"]),
        ({**V1_TO_4, "production": digest_of(2), "previous": digest_of(1)}, {}, []),
        ({**V1_TO_4, "somebody-s": digest_of(2)}, {}, ["v1"]),  # deleting it as v2 would take the other name, too
        ({**V1_TO_4, "v5": digest_of(1)}, {}, ["v2", "v3"]),
        ({"v9": digest_of(1), "v10": digest_of(2), "v11": digest_of(3)}, {}, ["v9"]),
        ({"v01": digest_of(1), "v2": digest_of(2), "v3": digest_of(3)}, {}, []),  # no name of ours
        ({"latest": FAR, "vega": SIG, "v1-old": SBOM}, {}, []),
        # what is attached stays and goes with its image
        ({**V1_TO_4, attached(1): SIG}, {}, ["v1", "v2", attached(1)]),
        ({**V1_TO_4, attached(4): SIG, attached(4, "sbom"): SBOM}, {}, ["v1", "v2"]),
        ({**V1_TO_4, attached(1): SIG}, {digest_of(1): "live"}, ["v2"]),
        ({attached(9): SIG}, {}, [attached(9)]),
        ({attached(9): SIG}, {digest_of(9): "live"}, []),  # live under a digest that lost its name to a newer one
        ({**V1_TO_4, attached(1): SIG, "keep": SIG}, {}, ["v1", "v2"]),
        ({**V1_TO_4, attached(4, "sbom"): SBOM, attached(102): SIG}, {}, ["v1", "v2"]),  # the signature of an SBOM
        ({**V1_TO_4, attached(1, "sbom"): SBOM, attached(102): SIG}, {}, ["v1", "v2", attached(102), attached(1, "sbom")]),
        ({**V1_TO_4, attached(4, "att"): SIG}, {}, ["v1", "v2"]),
    ],
)
def test_what_goes_is_neither_needed_nor_new_nor_named(names: dict[str, str], needed: dict[str, str], gone: list[str]) -> None:
    assert goes(names, needed) == gone


@pytest.mark.parametrize(("keep", "gone"), [(2, ["v1", "v2"]), (3, ["v1"]), (4, []), (20, [])])
def test_the_newest_versions_stay(keep: int, gone: list[str]) -> None:
    assert goes(V1_TO_4, {}, keep) == gone


def test_images_go_before_what_is_attached_to_them() -> None:
    """Else an image could be left that says it was never signed."""
    names = {attached(1): digest_of(0), "v1": digest_of(1), "v2": digest_of(2), "v3": digest_of(3)}

    assert goes(names, {}) == ["v1", attached(1)]


NOW = datetime(2013, 6, 1, tzinfo=UTC)


def in_work(version: int, percent: int = 0) -> Shifting:
    request = a_request("release", version)
    return Shifting(request=request, image=request.image, since=NOW, percent=percent)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([State()], {}),
        ([State(live=an_image(2), previous=an_image(1))], {2: "live", 1: "to go back to"}),
        ([State(checked=an_image(3))], {3: "passed its check"}),
        ([State(active=in_work(4))], {4: "in work"}),
        ([State(queue=(a_request("check", 5), a_request("freeze")))], {5: "requested"}),
        ([State(quarantined=(Quarantined(image=an_image(6), why="slow"),))], {6: "in quarantine"}),
        # of earlier entries only what had traffic
        ([State(), State(live=an_image(2), previous=an_image(1))], {2: "had traffic", 1: "had traffic"}),
        ([State(), State(live=an_image(1), active=in_work(4, percent=5))], {1: "had traffic", 4: "had traffic"}),
        ([State(), State(live=an_image(1), active=in_work(4))], {1: "had traffic"}),
        ([State(), State(checked=an_image(3), queue=(a_request("check", 5),))], {}),
        ([State(live=an_image(2)), State(live=an_image(1))], {2: "live", 1: "had traffic"}),
    ],
)
def test_what_the_ledger_needs(states: list[State], expected: dict[int, str]) -> None:
    """The newest state first."""
    ledger = Ledger(MemoryStore())
    for state in reversed(states):
        ledger.append("late", ledger.last("late"), Draft(who="a", why="b", what="c", state=state))

    assert needed(states[0], ledger.entries("late")) == {digest_of(version): why for version, why in expected.items()}


def test_people_read_what_would_go_and_why_the_rest_stays() -> None:
    names = {**V1_TO_4, "production": digest_of(1), attached(2): SIG}

    assert plan_lines(decide("late", 7, names, {digest_of(1): "live"}, 2)) == [
        "late: 2 of 5 go",
        "  goes   v2 (000000000000): none of the newest versions, and it never had traffic",
        "  goes   000000000000.sig (000000000000): its image is gone, or goes",
        "  stays  production, v1 (000000000000): live",
        "  stays  v3 (000000000000): one of the newest 2 versions",
        "  stays  v4 (000000000000): one of the newest 2 versions",
    ]
    assert plan_lines(decide("late", 7, {}, {}, 2)) == ["late: none go"]


# With a real ledger, and where images really lie.


@pytest.fixture(params=["folder", pytest.param("registry", marks=pytest.mark.integration)])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Repository:
    if request.param == "folder":
        return repository_of(f"oci:{tmp_path / 'images'}", "late")
    return repository_of(f"{request.getfixturevalue('registry').host}/{tmp_path.name.replace('_', '-').lower()}", "late")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(LocalStore(str(tmp_path / "store")))


def stored(repository: Repository, name: str) -> str:
    """All share one layer."""
    layers = [repository.put(LAYER, b"server"), repository.put(LAYER, name.encode())]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": repository.put(CONFIG, b"{}"), "layers": layers}
    digest = repository.put(MANIFEST, canonical(manifest))["digest"]
    repository.name(digest, name)
    return digest


def record(ledger: Ledger, **state: object) -> None:
    ledger.append("late", ledger.last("late"), Draft(who="controller", why="b", what="c", state=State(**state)))


def image_of(digest: str, version: int) -> Image:
    return an_image(version).model_copy(update={"digest": digest})


@pytest.fixture
def digests(repository: Repository, ledger: Ledger) -> dict[str, str]:
    """Six versions, each with a signature: 2 was live, 3 is, and 6 is in the sandbox."""
    by_name = {f"v{version}": stored(repository, f"v{version}") for version in range(1, 7)}
    for digest in list(by_name.values()):
        stored(repository, name_of(digest))
    record(ledger, live=image_of(by_name["v2"], 2))
    record(ledger, live=image_of(by_name["v3"], 3), previous=image_of(by_name["v2"], 2))
    record(ledger, live=image_of(by_name["v3"], 3), active=in_work(6).model_copy(update={"image": image_of(by_name["v6"], 6)}))
    repository.name(by_name["v3"], "production")
    return by_name


def test_only_what_nobody_needs_goes_and_the_rest_is_whole(repository: Repository, ledger: Ledger, digests: dict[str, str]) -> None:
    before = repository.names()
    planned = plan(repository, "late", ledger, keep=2)
    assert repository.names() == before

    done = clean(repository, "late", ledger, keep=2)

    assert done == planned
    gone = {"v1", "v4", name_of(digests["v1"]), name_of(digests["v4"])}
    assert {name for entry in done.going for name in entry.names} == gone
    assert repository.names() == {name: digest for name, digest in before.items() if name not in gone}
    for digest in repository.names().values():
        repository.confirm(json.loads(repository.manifest(digest)))
    with pytest.raises(ImageDamaged):
        repository.manifest(digests["v4"])
    assert clean(repository, "late", ledger, keep=2).going == ()


def test_without_a_ledger_that_can_be_read_nothing_goes(
    repository: Repository, ledger: Ledger, digests: dict[str, str], tmp_path: Path
) -> None:
    before, folder = repository.names(), tmp_path / "store" / "ledger" / "late" / "00000"
    with pytest.raises(NotCleaned, match=r"late has no ledger entry in .*nothing was deleted; see that the platform file"):
        clean(repository, "late", Ledger(LocalStore(str(tmp_path / "another"))), keep=2)
    (folder / "00000002.json").rename(tmp_path / "aside")
    with pytest.raises(LedgerBroken, match=r"00000002.json is missing"):
        clean(repository, "late", Ledger(LocalStore(str(tmp_path / "store"))), keep=2)
    (folder / "00000002.json").write_text("{}")
    with pytest.raises(LedgerBroken, match=r"00000002.json cannot be trusted"):
        clean(repository, "late", Ledger(LocalStore(str(tmp_path / "store"))), keep=2)

    assert repository.names() == before


def test_a_store_that_does_not_answer_lets_nothing_go(repository: Repository, digests: dict[str, str]) -> None:
    store = MemoryStore()
    record(Ledger(store), live=image_of(digests["v3"], 3))
    store.unreachable, before = True, repository.names()

    with pytest.raises(StoreError):
        clean(repository, "late", Ledger(store), keep=2)

    assert repository.names() == before


class Interrupted:
    """Somebody asks for a version right after the first deletion."""

    def __init__(self, repository: Repository, ledger: Ledger) -> None:
        self._repository, self._ledger = repository, ledger

    def names(self) -> dict[str, str]:
        return self._repository.names()

    def delete(self, digest: str) -> None:
        self._repository.delete(digest)
        self._ledger.request(a_request("check", 4))


def test_cleaning_stops_as_soon_as_something_new_is_asked(repository: Repository, ledger: Ledger, digests: dict[str, str]) -> None:
    with pytest.raises(NotCleaned, match="late was changed while its images were cleaned: 1 of 4 went; run it again"):
        clean(Interrupted(repository, ledger), "late", ledger, keep=2)

    assert set(repository.names()) >= {"v2", "v3", "v4", "v5", "v6", "production"}
