"""The store in HDFS under failures; tests/contract/test_store.py runs it on a real one."""

import pytest

from contract.errors import StoreError
from contract.store.hdfs import HdfsStore
from contract.store.webhdfs import web_addresses
from tests.contract.namenode import NameNode, Spoilt

TRIES = 3


@pytest.fixture
def pair():
    """Two NameNodes of the nameservice «ours»."""
    nodes = [NameNode(), NameNode()]
    yield nodes
    for node in nodes:
        node.stop()


def site(tmp_path, monkeypatch, settings):
    rows = (f"<property>\n<name>{name}</name>\n<value> {value} </value></property>" for name, value in settings.items())
    (tmp_path / "hdfs-site.xml").write_text(f"<?xml version='1.0'?><configuration>{''.join(rows)}</configuration>")
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))


@pytest.fixture
def store(pair, tmp_path, monkeypatch):
    first, second = pair
    key = "dfs.namenode.http-address.ours"
    site(tmp_path, monkeypatch, {"dfs.ha.namenodes.ours": "a, b", f"{key}.a": first.address, f"{key}.b": second.address})
    monkeypatch.setenv("HADOOP_USER_NAME", "ann")
    return HdfsStore("hdfs://ours/retraining/", tries=TRIES, pause_s=0.01)


@pytest.fixture
def single(pair, tmp_path, monkeypatch):
    site(tmp_path, monkeypatch, {"dfs.namenode.http-address": pair[0].address})
    monkeypatch.setenv("HADOOP_USER_NAME", "ann")
    return HdfsStore("hdfs://127.0.0.1:8020/retraining", tries=TRIES, pause_s=0.01)


HTTP, HTTPS, HA = "dfs.namenode.http-address", "dfs.namenode.https-address", "dfs.ha.namenodes.ours"
ONLY = {"dfs.http.policy": "HTTPS_ONLY"}


@pytest.mark.parametrize(
    ("root", "conf", "expected"),
    [
        ("hdfs://name:8020/x", {}, ["http://name:9870"]),
        ("hdfs://name/x", ONLY, ["https://name:9871"]),
        ("hdfs://name/x", {HTTP: "web:50070"}, ["http://web:50070"]),
        ("hdfs://name/x", {HTTP: "0.0.0.0:50070"}, ["http://name:50070"]),
        ("hdfs://name/x", {HTTP: "web:50070", HTTPS: "web:50470", **ONLY}, ["https://web:50470"]),
        ("hdfs://name/x", {HTTP: "web:50070", "fs.defaultFS": "hdfs://name:8020"}, ["http://web:50070"]),
        ("hdfs://name/x", {HTTP: "web:50070", "fs.defaultFS": "hdfs://other:8020"}, ["http://name:9870"]),
        ("hdfs://ours/x", {HA: "a,b", f"{HTTP}.ours.a": "a:1", f"{HTTP}.ours.b": "b:2"}, ["http://a:1", "http://b:2"]),
    ],
)
def test_where_webhdfs_listens_is_hadoops_own_configuration(root, conf, expected):
    assert web_addresses(root, conf) == expected


def test_what_names_no_namenode_is_told():
    with pytest.raises(
        StoreError, match=r"^store hdfs:///x: name the NameNode or the nameservice, as in hdfs://NAMENODE:8020/PATH"
    ):
        web_addresses("hdfs:///x", {})
    with pytest.raises(StoreError, match=r"http-address.ours.b must be in the hdfs-site.xml of HADOOP_CONF_DIR"):
        web_addresses("hdfs://ours/x", {HA: "a,b", f"{HTTP}.ours.a": "a:1"})


def test_of_a_pair_the_active_one_is_found_and_kept(store, pair):
    standby, active = pair
    standby.always = Spoilt("", status=403, exception="StandbyException")

    assert store.create("a.json", b"x") is True
    assert store.read("a.json") == b"x"
    assert len(standby.operations) == 1
    assert active.files == {"/retraining/a.json": b"x"}


def test_of_a_pair_the_one_that_lives_is_found(store, pair):
    dead, active = pair
    dead.stop()

    assert store.create("a.json", b"x") is True
    assert active.files == {"/retraining/a.json": b"x"}


@pytest.mark.parametrize(
    "spoilt",
    [
        [Spoilt("RENAME", done=True)],  # the answer was lost, not the move
        [Spoilt("RENAME"), Spoilt("RENAME", done=True)],
        [Spoilt("RENAME", done=True, status=503)],
        [Spoilt("CREATE", done=True)],
        [Spoilt("CREATE"), Spoilt("CREATE", status=403, exception="IOException")],
        [Spoilt("GETFILESTATUS", status=403, exception="SafeModeException")],
        [Spoilt("GETFILESTATUS", status=403, exception="RetriableException")] * (TRIES - 1),
    ],
)
def test_a_write_that_seemed_to_fail_is_won_by_who_wrote_it(single, pair, spoilt):
    pair[0].spoilt = list(spoilt)

    assert single.create("a.json", b"mine") is True
    assert pair[0].spoilt == []
    assert pair[0].files == {"/retraining/a.json": b"mine"}
    assert single.create("a.json", b"mine") is False


def test_a_write_that_failed_is_not_won_because_another_wrote_the_name(single, pair):
    """The first check finds no file; another writer creates it before the rename."""
    pair[0].files["/retraining/a.json"] = b"theirs"
    pair[0].spoilt = [Spoilt("GETFILESTATUS", status=404, exception="FileNotFoundException"), Spoilt("RENAME")]

    assert single.create("a.json", b"mine") is False
    assert pair[0].files == {"/retraining/a.json": b"theirs"}


ADDRESS = r"http://127.0.0.1:\d+"


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        (Spoilt("", status=403, exception="AccessControlException"), "permission is denied to the user ann$"),
        (Spoilt("", status=403, exception="NSQuotaExceededException"), "the quota is used up: free space, then clear this task$"),
        (Spoilt("", status=400, exception="IllegalArgumentException"), "IllegalArgumentException it is$"),
        (
            Spoilt("", status=403, exception="SafeModeException"),
            rf"{ADDRESS} answers SafeModeException, 3 times; see that HDFS runs, then clear this task$",
        ),
        (Spoilt("", status=502), rf"{ADDRESS} answers 502, 3 times; see that HDFS runs"),
        (Spoilt(""), rf"{ADDRESS} does not answer \(ConnectionError\), 3 times; see that HDFS runs"),
        (Spoilt("", status=404), rf"{ADDRESS} answers 404: it is no NameNode's WebHDFS$"),
        (
            Spoilt("", status=307, headers=(("Location", "ftp://elsewhere/x?token=1"),)),
            "redirects to ftp://elsewhere/x, which is refused$",
        ),
    ],
)
def test_what_hdfs_refuses_is_told_with_what_to_do(single, pair, spoilt, reason):
    pair[0].always = spoilt
    with pytest.raises(StoreError, match=f"^hdfs://127.0.0.1:8020/retraining/a.json could not be written: .*{reason}"):
        single.create("a.json", b"x")
    with pytest.raises(StoreError, match=f"^hdfs://127.0.0.1:8020/retraining/a.json could not be read: .*{reason}"):
        single.read("a.json")


def test_a_gateway_whose_rename_may_mean_something_else_is_refused(single, pair):
    pair[0].spoilt = [Spoilt("RENAME", status=200, exception="any content")]

    with pytest.raises(StoreError, match=r"its WebHDFS ignores «renameoptions»: two writers could both win there$"):
        single.create("a.json", b"x")
    assert pair[0].files == {}


def test_a_cluster_that_asks_for_kerberos_is_told_as_one(single, pair):
    pair[0].always = Spoilt("", status=401, headers=(("WWW-Authenticate", "Negotiate"),))

    with pytest.raises(StoreError, match=rf"^{ADDRESS} asks for Kerberos, which is not supported yet$"):
        single.names("runs")
