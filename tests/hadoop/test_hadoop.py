"""The demo's Hadoop: real servers that answer, that keep to the loopback, and that can be killed and started again."""

from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.hadoop_cluster import Cluster, running
from tests.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("hadoop"), nodes=2) as cluster:
        yield cluster


def submit(cluster: Cluster, command: str, queue: str = "default", user: str = "ann") -> str:
    """An application of one container that never calls its ResourceManager."""
    url = f"{cluster.rm_url}/ws/v1/cluster/apps"
    application = httpx.post(f"{url}/new-application", timeout=10).json()["application-id"]
    request = {
        "application-id": application,
        "application-name": "one container",
        "application-type": "YARN",
        "queue": queue,
        "max-app-attempts": 1,
        "resource": {"memory": 256, "vCores": 1},
        "am-container-spec": {"commands": {"command": f"{{ {command}; }} 1><LOG_DIR>/stdout 2><LOG_DIR>/stderr"}},
    }
    httpx.post(url, params={"user.name": user}, json=request, timeout=10).raise_for_status()
    return application


def one(cluster: Cluster, application: str) -> dict:
    return httpx.get(f"{cluster.rm_url}/ws/v1/cluster/apps/{application}", timeout=10).json()["app"]


def ended(cluster: Cluster, application: str) -> dict:
    return until(lambda: app if (app := one(cluster, application))["finalStatus"] != "UNDEFINED" else None, "it ended", 40)


def containers(cluster: Cluster) -> list[psutil.Process]:
    """Those of the applications here."""
    return [process for process in cluster.containers() if "sleep 1234" in " ".join(process.cmdline())]


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
    refused = ended(cluster, submit(cluster, "true", queue="absent"))

    assert refused["finalStatus"] == "FAILED"
    assert "unknown queue: absent" in refused["diagnostics"]


def test_a_container_over_its_memory_is_killed(cluster):
    command = "python3 -c 'import time; kept = bytes([1]) * 500_000_000; time.sleep(1234)'"
    killed = ended(cluster, submit(cluster, command))

    assert killed["finalStatus"] == "FAILED"
    assert "beyond the 'PHYSICAL' memory limit" in killed["diagnostics"]


def test_what_an_ended_container_said_can_be_read(cluster):
    logs = ended(cluster, submit(cluster, "echo it was bad; exit 3"))["amContainerLogs"]

    assert "it was bad" in httpx.get(f"{logs}/stdout/?start=0", timeout=10).text


def test_a_container_sees_nothing_of_the_callers_environment(cluster):
    logs = ended(cluster, submit(cluster, "env; false"))["amContainerLogs"]
    seen = httpx.get(f"{logs}/stdout/?start=0", timeout=10).text.splitlines()

    assert "SPARK_LOCAL_IP=127.0.0.1" in seen
    assert not any("PYTEST" in line for line in seen)


def test_a_container_runs_on_while_its_servers_are_killed_and_started_again(cluster):
    application = submit(cluster, "sleep 1234", queue="ml")
    before = until(lambda: containers(cluster), "it runs", 20)

    for server in (cluster.resourcemanager, *cluster.nodemanagers):
        server.kill()
        server.start()
        cluster.await_ready()

    assert one(cluster, application)["finalStatus"] == "UNDEFINED"
    assert containers(cluster) == before
    url = f"{cluster.rm_url}/ws/v1/cluster/apps/{application}/state"
    httpx.put(url, params={"user.name": "ann"}, json={"state": "KILLED"}, timeout=10).raise_for_status()
    assert ended(cluster, application)["finalStatus"] == "KILLED"
    until(lambda: not containers(cluster), "no process is left", 20)


@pytest.mark.parametrize("name", ["resourcemanager", "namenode", "datanode", "nodemanager1"])
def test_a_server_that_is_killed_and_started_again_does_its_work_again(cluster, name):
    server = cluster.servers[name]
    server.kill()
    assert server.pid is None
    assert cluster.missing() == name

    server.start()
    cluster.await_ready()

    assert ended(cluster, submit(cluster, "false"))["finalStatus"] == "FAILED"
