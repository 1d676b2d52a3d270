"""Further services of the demo on containers: a registry, an engine where none runs, and the serving base."""

import json
import os
import shutil
import subprocess
from contextlib import suppress
from hashlib import file_digest
from pathlib import Path

import docker
import httpx
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from docker.errors import DockerException

from contract.platform import load_platform
from demo import paths
from demo.errors import DemoError
from demo.paths import HOME, PLATFORMS, ROOT
from demo.ports import await_answer
from images.base import base_repository, make_base
from release.targets.docker import MODEL

REGISTRY_PORT = 5001
OWN_SOCKET = HOME / "docker.sock"
ROOTFS = HOME / "rootfs.tar"
REGISTRY_CONF = HOME / "registry.yml"
PUBLIC_KEY = HOME / "signing.pub"


def address() -> str:
    """URL of an engine that answers on this machine; else of the demo's own."""
    for candidate in dict.fromkeys([os.environ.get("DOCKER_HOST", ""), "unix:///var/run/docker.sock"]):
        with suppress(DockerException, OSError):
            if candidate and docker.DockerClient(candidate, timeout=3).ping():
                return candidate
    return f"unix://{OWN_SOCKET}"


def commands() -> dict[str, str]:
    """The services that this machine lacks."""
    services = {"registry": f"docker-registry serve {REGISTRY_CONF}"}
    if address() == f"unix://{OWN_SOCKET}":
        options = " ".join(f"--{name}={HOME / 'docker' / name}" for name in ("data-root", "exec-root", "pidfile"))
        services["engine"] = f"dockerd --iptables=false {options} --host=unix://{OWN_SOCKET}"
    absent = [command.split()[0] for command in services.values() if shutil.which(command.split()[0]) is None]
    if not ROOTFS.exists() and shutil.which("debootstrap") is None:
        absent.append("debootstrap")
    if absent:
        package = {"dockerd": "docker.io"}
        names = " ".join(package.get(name, name) for name in absent)
        raise DemoError(f"the demo on containers needs {' and '.join(absent)} (Debian, Ubuntu: apt install {names}), and root")
    return services


def write_platform(file: Path) -> None:
    """The local platform with images in a registry and servers in containers; their root file system is named by digest."""
    if not ROOTFS.exists():
        done = subprocess.run([str(ROOT / "images/make_rootfs.sh"), str(ROOTFS)], capture_output=True, text=True)
        if done.returncode:
            raise DemoError(f"the system of the containers could not be made: {done.stderr.strip()[-300:]}")
    with ROOTFS.open("rb") as tar:
        digest = file_digest(tar, "sha256").hexdigest()
    local = yaml.safe_load((PLATFORMS / "local.yaml").read_text())
    local["images"] = {
        "repository": f"127.0.0.1:{REGISTRY_PORT}/models",
        "rootfs": f"file:{ROOTFS}@sha256:{digest}",
        "signing": "signing_default",
        "public_keys": [str(PUBLIC_KEY)],
    }
    addresses = {key: local["serving"][key] for key in ("url", "router_api", "home")}
    local["serving"] = {**addresses, "target": "docker", "memory_mb": 512}
    file.write_text(yaml.safe_dump(local, sort_keys=False))
    storage = {"filesystem": {"rootdirectory": str(HOME / "registry")}, "delete": {"enabled": True}}
    conf = {"version": 0.1, "log": {"level": "warn"}, "storage": storage, "http": {"addr": f"127.0.0.1:{REGISTRY_PORT}"}}
    REGISTRY_CONF.write_text(yaml.safe_dump(conf))


def new_signing_key() -> str:
    """The private one, for Airflow's processes alone: it is in no file, and new at each start."""
    key = ec.generate_private_key(ec.SECP256R1())
    PUBLIC_KEY.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def environment() -> dict[str, str]:
    """The signing key, for Airflow's processes alone."""
    return {"AIRFLOW_CONN_SIGNING_DEFAULT": json.dumps({"conn_type": "generic", "password": new_signing_key()})}


def await_ready() -> None:
    """Waits for the registry, and puts the serving base into it."""
    registry = f"http://127.0.0.1:{REGISTRY_PORT}/v2/"
    await_answer("the registry", "registry", lambda: httpx.get(registry, timeout=2).status_code == 200)
    platform = load_platform(paths.platform(), HOME)
    make_base(ROOT / "serving", platform.images.rootfs, base_repository(platform), str(ROOT / ".venv/uv/bin/uv"))


def stop() -> None:
    """Removes the containers, which the engine would restart for ever."""
    with suppress(DockerException, OSError):
        for container in docker.DockerClient(address(), timeout=10).containers.list(all=True, filters={"label": MODEL}):
            container.remove(force=True)
