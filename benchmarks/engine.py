"""A container engine, a registry, and the serving base in it; all are removed when the benchmark ends."""

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import file_digest
from pathlib import Path

import docker
import httpx
import psutil
import yaml
from docker.errors import APIError, DockerException

from demo.paths import ROOT
from demo.platforms import containers
from images.base import NAME, make_base
from images.references import repository_of
from release.targets.ports import PORTS, is_free

ROOTFS = ROOT / ".build" / "rootfs.tar"
UV = ROOT / ".venv" / "uv" / "bin" / "uv"
WITH_ME = ["setpriv", "--pdeathsig", "TERM"]  # a process started so ends with its parent, however that ends


def lacking() -> str:
    """Why there can be no containers here; empty if there can."""
    packages = {"docker-registry": "docker-registry", "docker": "docker.io"}
    own = not _answers(containers.address())
    if own:
        packages["dockerd"] = "docker.io"
    if not ROOTFS.exists():
        packages["debootstrap"] = "debootstrap"
    absent = sorted({package for program, package in packages.items() if shutil.which(program) is None})
    if absent:
        return f"containers need {' and '.join(absent)}: apt install {' '.join(absent)}"
    if own and any(process.name() == "dockerd" for process in psutil.process_iter()):
        return "an engine runs here that does not answer at DOCKER_HOST: a second one would give its addresses away again"
    return "containers need root here" if os.geteuid() else ""


@contextmanager
def engine() -> Iterator[docker.DockerClient]:
    """An engine that answers on this machine, else one of our own; DOCKER_HOST is set to it inside the context."""
    before, address = os.environ.get("DOCKER_HOST"), containers.address()
    with tempfile.TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True) as home:
        own = None
        try:
            if not _answers(address):
                address = f"unix://{home}/docker.sock"
                own = _start_engine(Path(home), address)
            os.environ["DOCKER_HOST"] = address
            yield docker.DockerClient(address, timeout=600)
        finally:
            os.environ.pop("DOCKER_HOST", None)
            os.environ.update({"DOCKER_HOST": before} if before else {})
            if own:
                own.terminate()
                own.wait(60)


@contextmanager
def registry() -> Iterator[str]:
    """Yields host and port of a registry that is removed at the end."""
    port = free_ports(1)[0]
    with tempfile.TemporaryDirectory(prefix="registry-") as home:
        storage = {"filesystem": {"rootdirectory": f"{home}/data"}}
        conf = {"version": 0.1, "log": {"level": "error", "accesslog": {"disabled": True}}, "storage": storage}
        Path(home, "registry.yml").write_text(yaml.safe_dump({**conf, "http": {"addr": f"127.0.0.1:{port}"}}))
        process = _started(["docker-registry", "serve", f"{home}/registry.yml"], Path(home, "log"))
        try:
            until(lambda: _is_up(f"http://127.0.0.1:{port}/v2/"), "the registry answers")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def make_serving_base(registry: str) -> str:
    """Puts the serving base beside the models; returns the reference of its root file system."""
    system = rootfs()
    make_base(ROOT / "serving", system, repository_of(f"{registry}/models", NAME), str(UV))
    return system


def rootfs() -> str:
    """Reference of the root file system, which is made once, in a minute or two."""
    if not ROOTFS.exists():
        subprocess.run([ROOT / "images" / "make_rootfs.sh", ROOTFS], check=True, stdout=subprocess.DEVNULL)
    with ROOTFS.open("rb") as tar:
        return f"file:{ROOTFS}@sha256:{file_digest(tar, 'sha256').hexdigest()}"


def forget(client: docker.DockerClient, registry: str) -> None:
    """Removes the registry's images from an engine that goes on running."""
    for _ in range(3):  # an image that another is built on can only be removed after it
        for image in client.images.list():
            if any(name.startswith(f"{registry}/") for name in (*image.tags, *image.attrs.get("RepoDigests", []))):
                with suppress(APIError):
                    client.images.remove(image.id, force=True)


def free_ports(count: int) -> list[int]:
    return [port for port in random.sample(PORTS, 100) if is_free(port)][:count]


def until(holds: Callable[[], object], what: str, within_s: float = 60, every_s: float = 0.2) -> None:
    """Polls rarely enough not to disturb the measurement; raises TimeoutError."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {within_s:.0f} s: {what}")
        time.sleep(every_s)


def _start_engine(home: Path, address: str) -> subprocess.Popen:
    options = [f"--{name}={home / name}" for name in ("data-root", "exec-root", "pidfile")]
    process = _started(["dockerd", "--iptables=false", *options, f"--host={address}"], home / "log")
    until(lambda: process.poll() is not None or _answers(address), "the engine answers")
    if process.poll() is not None:
        raise TimeoutError(f"the engine ended at once: {(home / 'log').read_text()[-300:]}")
    return process


def _started(command: list[str], log: Path) -> subprocess.Popen:
    with log.open("w") as output:
        return subprocess.Popen([*WITH_ME, *command], stdout=output, stderr=output)


def _answers(address: str) -> bool:
    try:
        return docker.DockerClient(address, timeout=3).ping()
    except (DockerException, OSError):
        return False


def _is_up(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False
