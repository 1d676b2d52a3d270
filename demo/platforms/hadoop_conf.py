"""Settings of Hadoop's servers on this machine, from ports, folders and sizes. All listen on loopback only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

LOOPBACK = "127.0.0.1"
NODE_GONE_S, MASTER_GONE_S = 15, 600  # a master is counted from before its environment is unpacked
SERVERS = ("fs", "webhdfs", "data", "data_http", "data_ipc", "rm", "scheduler", "tracker", "admin", "rm_http")
PER_NODE = ("node", "localizer", "node_http")
Settings = Mapping[str, object]


@dataclass(frozen=True)
class Ports:
    """One block, from `first` on: the servers', then those of each node."""

    first: int
    nodes: int

    def address(self, name: str, node: int = 0) -> str:
        offset = SERVERS.index(name) if name in SERVERS else len(SERVERS) + node * len(PER_NODE) + PER_NODE.index(name)
        return f"{LOOPBACK}:{self.first + offset}"

    def all(self) -> range:
        return range(self.first, self.first + len(SERVERS) + self.nodes * len(PER_NODE))


def core_site(ports: Ports, home: Path, user: str) -> Settings:
    return {
        "fs.defaultFS": f"hdfs://{ports.address('fs')}",
        "hadoop.tmp.dir": home / "tmp",
        "hadoop.http.staticuser.user": user,
    }


def hdfs_site(ports: Ports, home: Path) -> Settings:
    return {
        "dfs.replication": 1,
        "dfs.namenode.name.dir": f"file://{home}/name",
        "dfs.datanode.data.dir": f"file://{home}/data",
        "dfs.namenode.http-address": ports.address("webhdfs"),
        "dfs.datanode.address": ports.address("data"),
        "dfs.datanode.http.address": ports.address("data_http"),
        "dfs.datanode.ipc.address": ports.address("data_ipc"),
        "dfs.datanode.hostname": LOOPBACK,
        "dfs.namenode.datanode.registration.ip-hostname-check": "false",
        "dfs.heartbeat.interval": "1s",
        "dfs.client.block.write.locateFollowingBlock.initial.delay.ms": 20,  # else each small file takes 250 ms
        "dfs.namenode.safemode.extension": "0s",  # one DataNode: nothing to wait for once it has reported its blocks
    }


def yarn_site(ports: Ports, home: Path, memory_mb: int, vcores: int) -> Settings:
    """Of the ResourceManager and all nodes: a restarted server recovers what ran, and a dead one is noticed soon."""
    return {
        "yarn.resourcemanager.hostname": LOOPBACK,
        "yarn.resourcemanager.address": ports.address("rm"),
        "yarn.resourcemanager.scheduler.address": ports.address("scheduler"),
        "yarn.resourcemanager.resource-tracker.address": ports.address("tracker"),
        "yarn.resourcemanager.admin.address": ports.address("admin"),
        "yarn.resourcemanager.webapp.address": ports.address("rm_http"),
        "yarn.resourcemanager.recovery.enabled": "true",
        "yarn.resourcemanager.work-preserving-recovery.scheduling-wait-ms": 1000,
        "yarn.resourcemanager.store.class": "org.apache.hadoop.yarn.server.resourcemanager.recovery.FileSystemRMStateStore",
        "yarn.resourcemanager.fs.state-store.uri": f"file://{home}/rm",
        "yarn.resourcemanager.connect.retry-interval.ms": 1000,
        "yarn.resourcemanager.nodemanagers.heartbeat-interval-ms": 250,
        "yarn.cluster.max-application-priority": 10,  # else every job has the same
        "yarn.nm.liveness-monitor.expiry-interval-ms": NODE_GONE_S * 1000,
        "yarn.am.liveness-monitor.expiry-interval-ms": MASTER_GONE_S * 1000,
        "yarn.scheduler.minimum-allocation-mb": 256,
        "yarn.scheduler.maximum-allocation-mb": memory_mb,
        "yarn.scheduler.maximum-allocation-vcores": vcores,
        "yarn.nodemanager.resource.memory-mb": memory_mb,
        "yarn.nodemanager.resource.cpu-vcores": vcores,
        "yarn.nodemanager.vmem-check-enabled": "false",
        "yarn.nodemanager.pmem-check-enabled": "true",
        "yarn.nodemanager.resource.memory.enforced": "false",  # else memory is left to control groups, also where there are none
        "yarn.nodemanager.container-monitor.interval-ms": 1000,
        "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": 99.5,
        "yarn.nodemanager.log.retain-seconds": 86400,
        "yarn.nodemanager.env-whitelist": "JAVA_HOME,HADOOP_CONF_DIR,PATH,LANG,SPARK_LOCAL_IP",
    }


def node_site(ports: Ports, home: Path, node: int) -> Settings:
    """Two nodes on one machine differ in ports and folders."""
    folder = home / "nodes" / str(node + 1)
    return {
        "yarn.nodemanager.hostname": LOOPBACK,
        "yarn.nodemanager.address": ports.address("node", node),
        "yarn.nodemanager.localizer.address": ports.address("localizer", node),
        "yarn.nodemanager.webapp.address": ports.address("node_http", node),
        "yarn.nodemanager.local-dirs": folder / "local",
        "yarn.nodemanager.log-dirs": folder / "logs",
        "yarn.nodemanager.recovery.enabled": "true",
        "yarn.nodemanager.recovery.dir": folder / "recovery",
    }


def capacity_scheduler() -> Settings:
    """Two queues; an application for any other is refused."""
    capacity = "yarn.scheduler.capacity"
    return {
        f"{capacity}.resource-calculator": "org.apache.hadoop.yarn.util.resource.DominantResourceCalculator",
        f"{capacity}.maximum-am-resource-percent": 0.5,  # else drivers fill the cluster and wait for executors
        f"{capacity}.root.queues": "default,ml",
        f"{capacity}.root.default.capacity": 75,
        f"{capacity}.root.default.user-limit-factor": 10,
        f"{capacity}.root.ml.capacity": 25,
        f"{capacity}.root.ml.maximum-capacity": 50,
        f"{capacity}.root.ml.user-limit-factor": 10,
    }


def as_xml(settings: Settings) -> str:
    rows = (f"  <property><name>{name}</name><value>{escape(str(value))}</value></property>" for name, value in settings.items())
    return "\n".join(["<configuration>", *rows, "</configuration>", ""])
