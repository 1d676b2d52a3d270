"""The serving base image: a system with Python, the server's locked packages, and its code. Each model adds one layer to it.

`python -m images.base --platform FILE` makes it, once for each combination of inputs, without a container engine; with
`--context FOLDER` it writes the build context of serving/Dockerfile instead.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from contract.errors import PermanentError, RetrainingError
from contract.keys import digest_of
from contract.platform import Platform, load_platform
from images.layer import OWNER, build_layer, sha256
from images.login import login_on_host
from images.oci import CONFIG, LAYER, MANIFEST, Descriptor, Repository, as_oci, canonical
from images.references import host_of, repository_of
from images.rootfs import Rootfs, open_rootfs
from images.sbom import attach_sbom

NAME = "serving-base"  # its repository, beside those of the models
MINOR, MACHINE = 11, "amd64"  # what serving/requirements.lock is for
WHEELS = ("--python-version", f"3.{MINOR}", "--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:")
PACKAGES = "app/site-packages"
ENV = {"PYTHONPATH": f"/{PACKAGES}", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}


class NoBase(PermanentError):
    """The base image for a model's layer is missing or unfit, or cannot be made."""


class Base(NamedTuple):
    """Its layers with their tars' digests, and how a container starts; `source` is the layers' repository."""

    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...]
    env: dict[str, str]
    python: str
    source: Repository


def embedded_base(serving: Path, repository: Repository) -> Base:
    """The code alone, for servers that are processes of a host with Python and the packages."""
    layer = build_layer(server_files(serving))
    return Base((repository.put(LAYER, layer.content),), (layer.diff_id,), {}, "python", repository)


def stored_base(serving: Path, rootfs: str, repository: Repository) -> Base:
    """The base of these inputs. Raises NoBase if it has not been made yet."""
    key = key_of(serving, rootfs)
    digest = repository.resolve(key)
    if digest is None:
        tag = tag_of(repository, key)
        raise NoBase(f"there is no serving base {tag} for this rootfs, lock and code: run python -m images.base --platform FILE")
    manifest = json.loads(repository.manifest(digest))
    config = json.loads(repository.blob(manifest["config"]["digest"]))
    env = dict(pair.split("=", 1) for pair in config["config"].get("Env") or [])
    command = config["config"].get("Cmd") or []
    if config["architecture"] != MACHINE or not command or not ENV.items() <= env.items():
        raise NoBase(
            f"{repository.reference(digest)} is no serving base for {MACHINE}: make it with images.base or serving/Dockerfile"
        )
    diff_ids = tuple(config["rootfs"]["diff_ids"])
    return Base(tuple(map(as_oci, manifest["layers"])), diff_ids, env, command[0], repository)


def make_base(serving: Path, rootfs: str, repository: Repository, uv: str) -> str:
    """Digest of the base of these inputs; an existing one is reused."""
    key = key_of(serving, rootfs)
    known = repository.resolve(key)
    if known:
        return known
    system = open_rootfs(rootfs, repository, MINOR, MACHINE)
    for part in system.parts:
        repository.copy(part.descriptor, system.source)
    added = [build_layer(packages(serving / "requirements.lock", uv)), build_layer(server_files(serving))]
    layers = [*(part.descriptor for part in system.parts), *(repository.put(LAYER, layer.content) for layer in added)]
    diff_ids = [*(part.diff_id for part in system.parts), *(layer.diff_id for layer in added)]
    config = repository.put(CONFIG, canonical(_config(system, diff_ids)))
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    stored = repository.put(MANIFEST, canonical(manifest))
    attach_sbom(repository, stored, (serving / "requirements.lock").read_text(), rootfs)
    digest: str = stored["digest"]
    repository.name(digest, key)
    return digest


def write_context(serving: Path, folder: Path, uv: str) -> None:
    """The layers' files, for serving/Dockerfile to copy. Only into a new folder: other files in it would be copied as well."""
    if folder.exists():
        raise NoBase(f"{folder} exists already: remove it, or name another --context")
    for name, content in {**packages(serving / "requirements.lock", uv), **server_files(serving)}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def tag_of(repository: Repository, key: str) -> str:
    """As `docker push` takes it."""
    return repository.reference(key).replace("@", ":").rpartition("://")[2]


def key_of(serving: Path, rootfs: str) -> str:
    """Hash of the inputs: other inputs make another base."""
    files = {name: sha256(content) for name, content in server_files(serving).items()}
    return digest_of([rootfs.rpartition("@")[2], files, ENV, WHEELS])[:16]


def server_files(serving: Path) -> dict[str, bytes]:
    """The code and the lock it was tested with, from `serving/`, and no other file of it."""
    lock = serving / "requirements.lock"
    code = {f"app/serving/{path.relative_to(serving).as_posix()}": path.read_bytes() for path in serving.rglob("*.py")}
    if not code or not lock.exists():
        raise NoBase(f"{serving} holds no server: its code or requirements.lock is missing; check out the whole repository")
    return {**code, "app/requirements.lock": lock.read_bytes()}


def packages(lock: Path, uv: str) -> dict[str, bytes]:
    """The lock's wheels, verified by hash, unpacked and byte-compiled; none of their code is run."""
    with tempfile.TemporaryDirectory() as folder:
        install = [uv, "pip", "install", "-q", "--target", folder, *WHEELS, "--require-hashes", "--no-deps", "-r", str(lock)]
        _run(install, "the server's packages could not be installed")
        compiled = ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", folder, "-p", f"/{PACKAGES}", folder]
        _run([sys.executable, *compiled], "the server's packages could not be compiled")
        files = {path.relative_to(folder).as_posix(): path for path in Path(folder).rglob("*") if path.is_file()}
        kept = {name: path for name, path in files.items() if not name.startswith("bin/") and name != ".lock"}
        return {f"{PACKAGES}/{name}": path.read_bytes() for name, path in kept.items()}


def _run(command: list[str], trouble: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603  (fixed arguments and a file of the checkout)
    if done.returncode:
        raise NoBase(f"{trouble}: {(done.stderr or done.stdout).strip()[-500:]}")


def _config(system: Rootfs, diff_ids: list[str]) -> dict[str, Any]:
    env = {**ENV, **({"PATH": system.path} if system.path else {})}
    return {
        "architecture": MACHINE,
        "os": "linux",
        "config": {
            "User": f"{OWNER}:{OWNER}",
            "Env": [f"{name}={value}" for name, value in sorted(env.items())],
            "Cmd": [system.python],
            "WorkingDir": "/app",
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }


def base_repository(platform: Platform) -> Repository:
    repository = platform.images.repository
    return repository_of(repository, NAME, login_on_host(host_of(repository)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m images.base", description=__doc__)
    parser.add_argument("--platform", type=Path, required=True, help="a file in dags/platforms/ that has images.rootfs")
    parser.add_argument("--uv", default="uv", help="the uv program, which installs the wheels")
    parser.add_argument(
        "--context", type=Path, metavar="FOLDER", help="only write the build context of serving/Dockerfile into a new folder"
    )
    arguments = parser.parse_args()
    try:
        platform = load_platform(arguments.platform, Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser())
        if platform.images.rootfs is None:
            raise NoBase(f"{arguments.platform} has no images.rootfs: name an image with Python 3.{MINOR} there, by digest")
        repository, serving = base_repository(platform), Path(__file__).resolve().parents[1] / "serving"
        if arguments.context:
            write_context(serving, arguments.context, arguments.uv)
            made = tag_of(repository, key_of(serving, platform.images.rootfs))
        else:
            made = repository.reference(make_base(serving, platform.images.rootfs, repository, arguments.uv))
    except RetrainingError as error:
        print(error, file=sys.stderr)
        return 1
    print(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
