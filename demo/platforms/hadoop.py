"""Hadoop on this machine: a NameNode, a DataNode, a ResourceManager and NodeManagers, the real ones, from Maven's jars."""

import getpass
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil

from demo.errors import DemoError
from demo.paths import ROOT
from demo.platforms.hadoop_conf import (
    LOOPBACK,
    Ports,
    Settings,
    as_xml,
    capacity_scheduler,
    core_site,
    hdfs_site,
    node_site,
    yarn_site,
)
from demo.preflight import java_problem

VERSION = "3.4.1"
TEMPLATES = ROOT / "demo" / "platforms" / "hadoop"
JARS = ROOT / ".build" / "hadoop" / VERSION
FIRST_PORT = 18020
READY_S = 120
HEAP_MB = 256
PACKAGE = "org.apache.hadoop"
HDFS = {
    "namenode": f"{PACKAGE}.hdfs.server.namenode.NameNode",
    "datanode": f"{PACKAGE}.hdfs.server.datanode.DataNode",
}
YARN = {"resourcemanager": f"{PACKAGE}.yarn.server.resourcemanager.ResourceManager"}
NODE_MAIN = f"{PACKAGE}.yarn.server.nodemanager.NodeManager"


class Hadoop:
    """One cluster below `home`: memory and vcores are its own, shared evenly by its nodes. Without nodes it is HDFS alone."""

    def __init__(self, home: Path, nodes: int = 1, first_port: int = FIRST_PORT, memory_mb: int = 8192, vcores: int = 8) -> None:
        self.home = home.resolve()
        self.nodes = nodes
        self.ports = Ports(first_port, nodes)
        self.conf = self.home / "conf"
        self.user = getpass.getuser()
        self.fs = f"hdfs://{self.ports.address('fs')}"
        self.webhdfs = f"http://{self.ports.address('webhdfs')}/webhdfs/v1"
        self.rm_url = f"http://{self.ports.address('rm_http')}"
        self._memory_mb, self._vcores = memory_mb // max(nodes, 1), vcores // max(nodes, 1)

    def make(self) -> None:
        """Fetches the jars, writes the settings and formats HDFS, unless it exists."""
        fetch_jars()
        self._write_conf()
        if not (self.home / "name").exists():
            self._format()

    def commands(self) -> dict[str, str]:
        """Name of each server: the command that runs it. They do not inherit the caller's environment, so no job does."""
        servers = {name: self._java([self.conf], main) for name, main in (HDFS | (YARN if self.nodes else {})).items()}
        nodes = {f"nodemanager{n + 1}": self._java([self._node_conf(n), self.conf], NODE_MAIN) for n in range(self.nodes)}
        return {name: shlex.join(command) for name, command in (servers | nodes).items()}

    def await_ready(self, seconds: float = READY_S) -> None:
        """Returns when HDFS is writable and all nodes run containers; else raises DemoError with the server that is missing."""
        end = time.monotonic() + seconds
        while missing := self.missing():
            if time.monotonic() > end:
                raise DemoError(f"Hadoop was not ready within {seconds:.0f} s: read the log of {missing}, then try again")
            time.sleep(0.2)

    def missing(self) -> str:
        """The first server that is not ready; empty if all are."""
        at_work = {
            "namenode": lambda: self.namenode_state()["Safemode"] == "",
            "datanode": lambda: self._answers("data_http", "jmx") and self.namenode_state()["LiveNodes"] != "{}",
            **({"resourcemanager": lambda: isinstance(self.node_reports(), list)} if self.nodes else {}),
            **{f"nodemanager{n + 1}": partial(self._runs, n) for n in range(self.nodes)},
        }
        for name, holds in at_work.items():
            try:
                if not holds():
                    return name
            except (httpx.HTTPError, LookupError, ValueError):
                return name
        return ""

    def namenode_state(self) -> dict[str, str]:
        """Its NameNodeInfo."""
        url = f"{self.webhdfs.removesuffix('/webhdfs/v1')}/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo"
        return httpx.get(url, timeout=5).json()["beans"][0]

    def node_reports(self) -> list[dict[str, Any]]:
        """Of the ResourceManager: one report for each node that has registered."""
        answer = httpx.get(f"{self.rm_url}/ws/v1/cluster/nodes", timeout=5).json()
        return (answer["nodes"] or {}).get("node", [])

    def applications(self, tag: str) -> list[dict[str, Any]]:
        """YARN's applications with this tag, oldest first."""
        parameters = {"applicationTags": tag, "deSelects": "resourceRequests"}
        answer = httpx.get(f"{self.rm_url}/ws/v1/cluster/apps", params=parameters, timeout=10).raise_for_status().json()
        return sorted((answer.get("apps") or {}).get("app", []), key=lambda app: app["id"])

    def put(self, folder: Path, path: str) -> None:
        """Copies a local folder into HDFS, unless the path exists there."""
        shell = f"{PACKAGE}.fs.FsShell"
        there = subprocess.run(self._java([self.conf], shell, "-test", "-e", path), capture_output=True)
        if there.returncode == 0:
            return
        done = subprocess.run(self._java([self.conf], shell, "-put", str(folder), path), capture_output=True, text=True)
        if done.returncode:
            raise DemoError(f"{folder} could not be put into HDFS: {done.stderr.strip()[-300:]}")

    def _runs(self, node: int) -> bool:
        port = self.ports.address("node", node).rpartition(":")[2]
        states = {report["id"].rpartition(":")[2]: report["state"] for report in self.node_reports()}
        return states.get(port) == "RUNNING" and self._answers("node_http", "ws/v1/node/info", node)

    def _answers(self, name: str, path: str, node: int = 0) -> bool:
        return httpx.get(f"http://{self.ports.address(name, node)}/{path}", timeout=5).status_code == httpx.codes.OK

    def containers(self) -> list[psutil.Process]:
        """Processes of all nodes' containers, found by their working directory."""
        processes = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if Path(process.cwd()).is_relative_to(self.home / "nodes"):
                    processes.append(process)
        return processes

    def kill_containers(self) -> None:
        """A NodeManager that ends by a signal leaves its containers to the next one."""
        for process in self.containers():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _write_conf(self) -> None:
        files = {
            self.conf / "core-site.xml": core_site(self.ports, self.home, self.user),
            self.conf / "hdfs-site.xml": hdfs_site(self.ports, self.home),
            self.conf / "capacity-scheduler.xml": capacity_scheduler(),
            self.conf / "yarn-site.xml": self._yarn_site(),
        }
        for number in range(self.nodes):
            files[self._node_conf(number) / "yarn-site.xml"] = {**self._yarn_site(), **node_site(self.ports, self.home, number)}
        for file, settings in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(as_xml(settings))
        shutil.copy(TEMPLATES / "log4j.properties", self.conf)

    def _yarn_site(self) -> Settings:
        return yarn_site(self.ports, self.home, self._memory_mb, self._vcores)

    def _node_conf(self, number: int) -> Path:
        return self.home / "nodes" / str(number + 1) / "conf"

    def _format(self) -> None:
        command = self._java([self.conf], HDFS["namenode"], "-format", "-nonInteractive")
        done = subprocess.run(command, cwd=self.home, capture_output=True, text=True)
        if done.returncode:
            said = next((line for line in done.stdout.splitlines() if " ERROR " in line), done.stderr)
            raise DemoError(f"HDFS could not be made in {self.home}: {said.strip()[:300]}")

    def _java(self, conf: list[Path], main: str, *arguments: str) -> list[str]:
        """With `env -i`, because a container inherits some of its NodeManager's environment."""
        java = java_home()
        given = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "JAVA_HOME": java, "HADOOP_CONF_DIR": self.conf}
        given |= {"SPARK_LOCAL_IP": LOOPBACK}  # the ports of jobs, too
        lean = [
            f"-Xmx{HEAP_MB}m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Djdk.lang.Process.launchMechanism=VFORK",  # a node starts `chmod` for each of 25,000 files that it unpacks
        ]  # five servers share the machine with everything else
        options = [*lean, "--add-opens=java.base/java.lang=ALL-UNNAMED", "-Djava.net.preferIPv4Stack=true"]
        classes = ":".join(map(str, [*conf, JARS, JARS / "*"]))
        environment = [f"{name}={value}" for name, value in given.items()]
        return ["/usr/bin/env", "-i", *environment, f"{java}/bin/java", *options, "-cp", classes, main, *arguments]


def fetch_jars() -> None:
    """Once; the folder is renamed when it is complete."""
    if JARS.exists():
        return
    if shutil.which("mvn") is None:
        raise DemoError("Hadoop's jars are fetched by Maven and no mvn is on PATH: install it (Debian, Ubuntu: apt install maven)")
    JARS.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=JARS.parent) as folder:
        command = [
            "mvn",
            "-B",
            "-q",
            "-f",
            TEMPLATES / "pom.xml",
            "dependency:copy-dependencies",
            f"-DoutputDirectory={folder}/jars",
        ]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            errors = (line.partition("[ERROR]")[2].strip() for line in done.stdout.splitlines())
            said = next(filter(None, errors), done.stderr)
            raise DemoError(f"Hadoop's jars could not be fetched: {said.strip()[:300]}; see that Maven reaches its repository")
        for name in ("hdfs", "datanode", "static"):  # its servers look for their web pages on the class path
            Path(folder, "jars", "webapps", name).mkdir(parents=True)
        try:
            Path(folder, "jars").rename(JARS)
        except OSError:
            if not JARS.exists():  # else another process was faster
                raise


def java_home() -> str:
    """JAVA_HOME, as Spark has it, else that of the java on PATH."""
    if problem := java_problem():
        raise DemoError(problem)
    return os.environ.get("JAVA_HOME") or str(Path(shutil.which("java") or "").resolve().parents[1])
