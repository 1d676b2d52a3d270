"""Real stores that break in the middle of a release or a rollback; the host around them is made of fakes, in simulated time."""

import os
import subprocess
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import boto3
import pytest
from moto.server import ThreadedMotoServer

from contract.store.base import Store
from contract.store.factory import store_at
from contract.store.s3 import S3Store
from release.controller.consistency import differences
from release.ledger.ledger import Ledger, LedgerBroken
from tests.release.fakes import GOLDEN, FakeWorld, a_request, digest_of
from tests.release.registry import skip

ONE, TWO = digest_of(1), digest_of(2)


class Fault(NamedTuple):
    """What breaks this store, and what mends it."""

    root: str
    begin: Callable[[], None]
    end: Callable[[], None]
    open: Callable[[str], Store] = store_at


def run(*command: object) -> None:
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


def fill(filler: Path) -> None:
    """Ends with the last byte that is free."""
    subprocess.run(["cp", "/dev/zero", filler], capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one of its own."""
    if os.geteuid() != 0:
        skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk)
    yield disk
    run("umount", disk)


@pytest.fixture
def full(disk: Path) -> Fault:
    return Fault(f"{disk}/store", lambda: fill(disk / "filler"), lambda: (disk / "filler").unlink())


@pytest.fixture
def read_only(disk: Path) -> Fault:
    return Fault(f"{disk}/store", *(partial(run, "mount", "-o", f"remount,{mode}", disk) for mode in ("ro", "rw")))


@pytest.fixture
def unmounted(disk: Path, tmp_path: Path) -> Iterator[Fault]:
    mount_point = tmp_path / "place"
    mount_point.mkdir()
    run("mount", "--bind", disk, mount_point)
    yield Fault(str(mount_point), partial(run, "umount", mount_point), partial(run, "mount", "--bind", disk, mount_point))
    run("umount", mount_point)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fault]:
    """The server's process forgets nothing while nobody can reach it."""
    servers = [ThreadedMotoServer("127.0.0.1", 0, verbose=False)]
    servers[0].start()
    port = servers[0].get_host_and_port()[1]
    given = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "eu-central-1"}
    for name, value in {**given, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}"}.items():
        monkeypatch.setenv(name, value)
    name = f"faults-{uuid.uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})

    def back() -> None:
        servers.append(ThreadedMotoServer("127.0.0.1", port, verbose=False))
        servers[-1].start()

    yield Fault(f"s3://{name}/retraining", servers[0].stop, back, partial(S3Store, tries=1))
    servers[-1].stop()


@pytest.fixture(params=["full", "read_only", "unmounted", pytest.param("bucket", marks=pytest.mark.integration)])
def fault(request: pytest.FixtureRequest) -> Fault:
    return request.getfixturevalue(request.param)


def world_on(store: Store, home: Path) -> FakeWorld:
    world = FakeWorld(home)
    store.create(GOLDEN, world.store.read(GOLDEN))
    world.store, world.ledger = store, Ledger(store)
    world.restart()
    return world


@pytest.fixture
def world(fault: Fault, tmp_path: Path) -> FakeWorld:
    return world_on(fault.open(fault.root), tmp_path / "home")


def say_rollback(world: FakeWorld) -> None:
    """As a person on the host does."""
    (world.home / "commands/late.rollback").write_text("bob: complaints")


def is_whole(world: FakeWorld, live: str) -> bool:
    """All is what the ledger says, each request has ended once, and nothing is under way."""
    brought = Counter(outcome.request for entry in world.ledger.entries("late") for outcome in entry.outcomes)
    state = world.state()
    return (
        differences(world.parts, world.servers) == []
        and (state.active, state.live and state.live.digest) == (None, live)
        and set(brought.values()) == {1}
    )


def test_a_release_waits_where_it_is_and_a_rollback_by_hand_goes_back(world, fault):
    world.put_live(1)
    world.outcome(a_request("check", 2))
    world.ask(a_request("release", 2, expected_live=ONE))
    world.reach("analyzing")

    fault.begin()
    world.settle(20)
    held = dict(world.router.weights["late"])
    say_rollback(world)
    world.settle(5)
    back = dict(world.router.weights["late"])
    fault.end()

    assert (held, back) == ({TWO: 5, ONE: 95}, {ONE: 100})
    world.settle(8)
    assert is_whole(world, live=ONE)
    assert world.ledger.outcome("late", "release-2").release.outcome == "rolled_back"


def test_a_release_goes_on_after_a_fault_that_passes(world, fault):
    world.put_live(1)
    world.outcome(a_request("check", 2))
    world.ask(a_request("release", 2, expected_live=ONE))
    world.reach("analyzing")

    fault.begin()
    world.restart()
    world.settle(20)
    fault.end()

    assert world.outcome(a_request("release", 2)).release.outcome == "released"
    world.settle(8)
    assert is_whole(world, live=TWO)


@pytest.mark.parametrize("begun", [False, True])
def test_a_rollback_goes_back_without_the_store_and_is_recorded_afterwards(world, fault, begun):
    world.put_live(1, 2)
    if begun:
        world.ask(a_request("rollback"))
        world.settle(1)
        assert world.state().active.request.kind == "rollback"

    fault.begin()
    if not begun:
        say_rollback(world)
    world.settle(6)
    world.restart()
    world.settle(2)
    gone_back = dict(world.router.weights["late"])
    fault.end()

    assert gone_back == {ONE: 100}
    world.settle(8)
    assert is_whole(world, live=ONE)
    assert world.state().outcomes[-1].kind == "rollback"
    assert any(entry.what.startswith("recorded afterwards: ") for entry in world.ledger.entries("late"))


def entries(root: Path) -> list[Path]:
    return sorted((root / "ledger/late/00000").iterdir())


@pytest.mark.parametrize(
    ("position", "content", "sentence"),
    [
        (-1, b"{", "00000010.json cannot be trusted"),
        (-1, b"", "00000010.json cannot be trusted"),
        (4, None, "00000005.json is missing: restore it from a backup"),
    ],
    ids=["torn", "empty", "missing"],
)
def test_an_entry_that_is_damaged_stops_releases_until_it_is_restored(tmp_path, caplog, position, content, sentence):
    world = world_on(store_at(str(tmp_path / "store")), tmp_path / "home")
    world.put_live(1)
    path = entries(tmp_path / "store")[position]
    kept = path.read_bytes()
    path.unlink() if content is None else path.write_bytes(content)
    world.restart()  # what lies far back is looked at once

    with pytest.raises(LedgerBroken, match=sentence):
        Ledger(world.store).request(a_request("check", 2))
    world.target.running.clear()
    world.settle(5)
    assert world.router.weights["late"] == {ONE: 100}
    assert len(world.target.servers()) == 2
    assert f"{path} " in caplog.text

    path.write_bytes(kept)
    world.put_live(2)
    world.settle(8)
    assert is_whole(world, live=TWO)


def test_a_last_entry_that_is_lost_is_missed_whatever_was_written_in_its_place(tmp_path, caplog):
    world = world_on(store_at(str(tmp_path / "store")), tmp_path / "home")
    world.put_live(1)
    path = entries(tmp_path / "store")[-1]
    kept = path.read_bytes()
    path.unlink()

    Ledger(world.store).request(a_request("check", 2))  # who asks cannot know
    assert path.exists()
    world.settle(20)
    assert world.router.weights["late"] == {ONE: 100}
    assert "the ledger of late ends at entry 10, but entry 10 was there: restore it from a backup" in caplog.text

    path.write_bytes(kept)
    world.put_live(2)
    world.settle(8)
    assert is_whole(world, live=TWO)
