"""The demo's Hadoop: real servers that answer, that keep to the loopback, and that can be killed and started again."""

from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.hadoop_cluster import Cluster, running
from tests.integration.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("hadoop"), nodes=2) as cluster:
        yield cluster


def new_application(cluster: Cluster) -> str:
    return httpx.post(f"{cluster.rm_url}/ws/v1/cluster/apps/new-application", timeout=10).json()["application-id"]


def one(cluster: Cluster, application: str) -> dict:
    return httpx.get(f"{cluster.rm_url}/ws/v1/cluster/apps/{application}", timeout=10).json()["app"]


def test_two_nodes_run_and_hdfs_has_a_live_datanode(cluster):
    assert [(node["state"], node["availMemoryMB"]) for node in cluster.node_reports()] == [("RUNNING", 4096)] * 2
    assert '"infoAddr"' in cluster.namenode_state()["LiveNodes"]


def test_all_listen_on_the_loopback_only(cluster):
    listening = [
        socket.laddr.ip
        for server in cluster.servers.values()
        for socket in psutil.Process(server.pid).net_connections("inet")
        if socket.status == psutil.CONN_LISTEN
    ]

    assert set(listening) == {"127.0.0.1"}
    assert len(listening) >= len(cluster.ports.all())


def test_there_are_two_queues(cluster):
    answer = httpx.get(f"{cluster.rm_url}/ws/v1/cluster/scheduler", timeout=10).json()
    queues = answer["scheduler"]["schedulerInfo"]["queues"]["queue"]

    assert {queue["queueName"]: queue["absoluteCapacity"] for queue in queues} == {"default": 75.0, "ml": 25.0}


def test_an_application_for_another_queue_is_refused(cluster):
    application = new_application(cluster)
    asked = {
        "application-id": application,
        "application-name": "elsewhere",
        "application-type": "YARN",
        "queue": "absent",
        "am-container-spec": {"commands": {"command": "true"}},
    }
    url = f"{cluster.rm_url}/ws/v1/cluster/apps"
    httpx.post(url, params={"user.name": cluster.user}, json=asked, timeout=10).raise_for_status()

    failed = until(lambda: found if (found := one(cluster, application))["state"] == "FAILED" else None, "it failed", 20)
    assert "unknown queue: absent" in failed["diagnostics"]


@pytest.mark.parametrize("name", ["resourcemanager", "namenode", "datanode", "nodemanager1"])
def test_a_server_that_is_killed_and_started_again_does_its_work_again(cluster, name):
    server = cluster.servers[name]
    server.kill()
    assert server.pid is None
    assert cluster.missing() == name

    server.start()
    cluster.await_ready()

    assert new_application(cluster).startswith("application_")
