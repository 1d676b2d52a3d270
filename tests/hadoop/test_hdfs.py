"""The store in a real HDFS whose servers are killed, and whose users may not do everything."""

import os
import threading
import time
import uuid
from collections.abc import Iterator

import httpx
import pytest

from contract.errors import StoreError
from contract.store.base import Store
from contract.store.factory import store_at
from contract.store.hdfs import HdfsStore
from tests.hadoop_cluster import Cluster, running
from tests.waiting import until

pytestmark = pytest.mark.integration
CONTENT = b"x" * 100_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("hdfs"), nodes=0) as cluster, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HADOOP_CONF_DIR", str(cluster.conf))
        yield cluster


@pytest.fixture
def store(cluster) -> Store:
    return store_at(f"{cluster.fs}/{uuid.uuid4().hex}")


class Writer(threading.Thread):
    """Creates one file after the other until it is told to end; `failures` holds what it was told."""

    def __init__(self, store: Store) -> None:
        super().__init__(daemon=True)
        self.store, self.won, self.failures = store, [], []
        self._over = threading.Event()

    def run(self) -> None:
        n = 0
        while not self._over.is_set():
            try:
                assert self.store.create(f"ledger/{n:06}", CONTENT) is True
                self.won.append(f"{n:06}")
            except Exception as error:
                self.failures.append(error)
            n += 1

    def end(self) -> None:
        self._over.set()
        self.join(60)
        assert not self.is_alive()


@pytest.mark.parametrize("name", ["namenode", "datanode"])
def test_a_server_killed_amid_writes_leaves_nothing_half_written_and_the_writes_go_on(cluster, store, name):
    writer = Writer(store)
    writer.start()
    for _ in range(3):
        at = len(writer.won)
        until(lambda at=at: len(writer.won) > at + 15, "15 more are written", 30)
        cluster.servers[name].kill()
        time.sleep(0.5)
        cluster.servers[name].start()
        cluster.await_ready()
        at = len(writer.won)
        until(lambda at=at: len(writer.won) > at, "writes go on", 30)
    writer.end()

    assert writer.failures == []
    assert store.names("ledger") == writer.won
    assert all(store.read(f"ledger/{number}") == CONTENT for number in writer.won)


def test_a_namenode_that_stays_away_is_told_with_what_to_do(cluster, store):
    impatient = HdfsStore(store.root, pause_s=0.01)
    cluster.namenode.kill()
    try:
        with pytest.raises(
            StoreError, match=r"a.json could not be written: http://\S+ does not answer \(ConnectionError\), 7 times; see"
        ):
            impatient.create("a.json", b"x")
    finally:
        cluster.namenode.start()
        cluster.await_ready()


def test_a_datanode_that_stays_away_is_told_with_what_to_do(cluster, store):
    impatient = HdfsStore(store.root, pause_s=0.01)
    store.create("a.json", b"x")
    cluster.datanode.kill()
    try:
        with pytest.raises(StoreError, match=r"b.json could not be written: .*, 7 times; see that HDFS runs, then clear this task"):
            impatient.create("b.json", b"x")
        assert store.names("") == ["a.json"]
    finally:
        cluster.datanode.start()
        cluster.await_ready()


def test_another_user_may_not_write_and_is_told_so(cluster, store, monkeypatch):
    store.create("a.json", b"x")
    monkeypatch.setenv("HADOOP_USER_NAME", "ann")
    anns = store_at(store.root)

    for use in (lambda: anns.create("b.json", b"x"), lambda: anns.remove("runs")):
        store.create("runs/1", b"")
        with pytest.raises(StoreError, match=r"could not be (written|removed): permission is denied to the user ann$"):
            use()
    assert anns.read("a.json") == b"x"


@pytest.mark.parametrize(("quota", "value"), [("namespacequota", 2), ("storagespacequota", 1000)])
def test_a_quota_that_is_used_up_is_reported_as_one(cluster, store, quota, value):
    store.create("a.json", b"x")
    path = store.root.removeprefix(cluster.fs)
    given = {"op": "SETQUOTA", "user.name": cluster.user, quota: value}
    httpx.put(f"{cluster.webhdfs}{path}", params=given, timeout=10).raise_for_status()

    with pytest.raises(StoreError, match=r"c.json could not be written: the quota is used up: free space, then clear this task"):
        store.create("c.json", b"x" * 10)
    assert store.read("a.json") == b"x"


def test_a_name_that_hdfs_does_not_take_is_told(store):
    with pytest.raises(StoreError, match=r"a:b could not be written: .*a:b"):
        store.create("a:b", b"x")


def test_a_file_of_another_in_the_way_of_a_folder_is_told(store):
    store.create("a", b"x")
    with pytest.raises(StoreError, match=r"a/b could not be written: .*is not a directory"):
        store.create("a/b", b"x")


def test_a_folder_is_never_taken_for_a_place_to_write_to(store):
    """Without an option, HDFS's rename moves a file into a folder of its new name."""
    store.create("a/b", b"x")

    assert store.create("a", b"y") is False
    assert [path for path, _ in store.files("")] == ["a/b"]


def test_a_large_file_goes_through(cluster, store, tmp_path):
    file = tmp_path / "environment.tar.gz"
    file.write_bytes(os.urandom(100_000_000))

    assert store.upload("environments/a", file) is True
    assert store.read("environments/a") == file.read_bytes()
