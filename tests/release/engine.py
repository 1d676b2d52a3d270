"""A container engine of its own for the tests, with a registry beside it and a base to put stand-in models on."""

import json
import os
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import docker
import pytest

from contract.documents import Image
from contract.platform import ServingHost
from images.base import make_base, stored_base
from images.package import Contents, package
from images.references import repository_of
from tests.release.local import ROOT, STAND_IN
from tests.release.registry import LocalRegistry, skip_without_registry

ROOTFS = ROOT / ".build" / "rootfs.tar"


class Engine:
    """dockerd, below `home`; its bridge is the host's, so that there is only one at a time."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.address = f"unix://{home}/docker.sock"
        home.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        options = [f"--{name}={self.home / name}" for name in ("data-root", "exec-root", "pidfile")]
        command = ["dockerd", "--iptables=false", *options, f"--host={self.address}"]
        with (self.home / "log").open("a") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._answers():
            alive = time.monotonic() < deadline and self._process.poll() is None
            assert alive, (self.home / "log").read_text()[-800:]
            time.sleep(0.1)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)

    def remove_all(self) -> None:
        for container in docker.DockerClient(self.address).containers.list(all=True):
            container.remove(force=True)

    def end(self) -> None:
        self.remove_all()
        self.stop()
        subprocess.run(["umount", str(self.home / "exec-root/netns/default")], capture_output=True)  # else it outlives its engine
        shutil.rmtree(self.home, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            return docker.DockerClient(self.address, timeout=2).ping()
        except (docker.errors.DockerException, OSError):
            return False


class ContainerHost:
    """What LocalHost is for processes: images of a stand-in server, and where they run."""

    def __init__(self, engine: Engine, registry: LocalRegistry, home: Path, server: str = STAND_IN) -> None:
        self.engine, self.registry = engine, registry
        self.repository = f"{registry.host}/models"
        self._code = home / "serving"
        self._code.mkdir(parents=True)
        (self._code / "__main__.py").write_text(server)
        (self._code / "requirements.lock").write_text("# nothing but Python\n")
        self._rootfs = rootfs()
        make_base(self._code, self._rootfs, repository_of(self.repository, "serving-base"), str(ROOT / ".venv/uv/bin/uv"))
        self.serving = ServingHost(target="docker", home=str(home), memory_mb=128)

    def image(self, version: int, model: str = "late", **behaviour: float) -> Image:
        base = stored_base(self._code, self._rootfs, repository_of(self.repository, "serving-base"))
        files = {"model.json": json.dumps(behaviour).encode()}
        contents = Contents(model, version, datetime(2013, 5, 1, tzinfo=UTC), files, {})
        return package(contents, base, repository_of(self.repository, model))


def rootfs() -> str:
    """Made once, in a minute; it stays below .build/."""
    if not ROOTFS.exists():
        subprocess.run([str(ROOT / "images/make_rootfs.sh"), str(ROOTFS)], check=True, stdout=subprocess.DEVNULL)
    digest = subprocess.run(["sha256sum", str(ROOTFS)], check=True, capture_output=True, text=True).stdout.split()[0]
    return f"file:{ROOTFS}@sha256:{digest}"


def skip_without_engine() -> None:
    """One clear line where it cannot run; in CI it must."""
    skip_without_registry()
    absent = [program for program in ("dockerd", "debootstrap") if shutil.which(program) is None]
    if absent or os.geteuid() != 0:
        sentence = f"containers need root, dockerd and debootstrap here: apt-get install {' '.join(absent) or '(as root)'}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(sentence)
