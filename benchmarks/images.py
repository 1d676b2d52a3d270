"""A new version as an image in a registry: one layer over its API, `docker build`, and a build that installs all each time.

`python -m benchmarks.images`: a plain registry, an engine of its own where none runs; ten minutes, most of them pip's.
The last is the Dockerfile that `mlflow models build-docker` writes, without its apt steps, on the same system.
"""

import os
import shutil
import subprocess
import tempfile
import time
from ast import literal_eval
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import docker

from benchmarks import engine
from benchmarks.figures import keep, spread
from benchmarks.host import MODEL, SERVED
from demo.paths import ROOT, python_of
from images.base import NAME, key_of, stored_base
from images.package import SERVE, Contents, package
from images.references import repository_of

REPEATS = 7
SIZES_KB = (20, 2048)  # the demo's model; a forest of some hundred trees
DOCKERFILE = """\
FROM {base}
COPY --chown=65532:65532 model /models/current
ENV MODEL_NAME={model} MODEL_VERSION={version}
CMD {command}
"""
SYSTEM = """\
FROM {rootfs}
COPY . /pip
ENV PIP_CONFIG_FILE=/pip/pip.conf PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore
RUN ln -s python3 /usr/bin/python && python3 /pip/$(cd /pip && ls *.whl)/pip install -q --no-index /pip/*.whl
"""
KEPT_OF_PIP = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout")


class Setup(NamedTuple):
    """References of one run: the rootfs as in a platform's file, the serving base, and the rootfs with pip."""

    registry: str
    system: str
    base: str
    plain: str
    folder: Path


class Model(NamedTuple):
    """A version with new bytes, which is packed but never loaded."""

    version: int
    kb: int

    def files(self) -> dict[str, bytes]:
        files = {path.name: path.read_bytes() for path in SERVED.iterdir()}
        return {**files, "model.onnx": files["model.onnx"] + os.urandom(self.kb * 1024)}


def packed(setup: Setup, model: Model) -> None:
    """As the package task does, with nothing kept from the last version."""
    models = f"{setup.registry}/models"
    base = stored_base(ROOT / "serving", setup.system, repository_of(models, NAME))
    contents = Contents(MODEL, model.version, datetime(2013, 5, 1, tzinfo=UTC), model.files(), {"run": str(model.version)})
    package(contents, base, repository_of(models, MODEL))


def built(setup: Setup, model: Model) -> None:
    """The legacy builder; the base is in the engine, and its layers in the repository."""
    folder = setup.folder / f"build-{model.version}"
    write(folder / "model", model.files())
    command = str(["/usr/bin/python3.11", *SERVE]).replace("'", '"')
    (folder / "Dockerfile").write_text(DOCKERFILE.format(base=setup.base, model=MODEL, version=model.version, command=command))
    build_and_push(folder, f"{setup.registry}/built/{MODEL}:v{model.version}")


def installed(setup: Setup, model: Model, *options: str) -> None:
    """MLflow writes the Dockerfile before the clock starts; see `mlflow_context`."""
    name = f"{setup.registry}/mlflow/{MODEL}:v{model.version}"
    build_and_push(setup.folder / f"mlflow-{model.version}", name, "--network", "host", *options)


def build_and_push(folder: Path, name: str, *options: str) -> None:
    run("docker", "build", "--quiet", "--force-rm", "--tag", name, *options, str(folder))
    run("docker", "push", "--quiet", name)


def mlflow_context(setup: Setup, model: Model) -> None:
    """A pyfunc of the same model, and MLflow's own Dockerfile for it, from its first Python step on."""
    served, saved, folder = (setup.folder / f"{kind}-{model.version}" for kind in ("served", "saved", "mlflow"))
    write(served, model.files())
    run(python_of("spark"), str(ROOT / "benchmarks" / "mlflow_model.py"), str(served), str(saved))
    generate = ["-m", "mlflow", "models", "generate-dockerfile", "--env-manager", "local"]
    run(python_of("spark"), *generate, "--model-uri", str(saved), "--output-directory", str(folder))
    text = (folder / "Dockerfile").read_text()
    (folder / "Dockerfile").write_text(f"FROM {setup.plain}\n{text[text.index('WORKDIR') :]}")


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def put_system(client: docker.DockerClient, folder: Path, name: str) -> None:
    """The rootfs with pip, with the index and the certificates of this host's own pip."""
    pip = [str(ROOT / ".venv" / "uv" / "bin" / "python"), "-m", "pip"]
    folder.mkdir()
    run(*pip, "download", "-q", "--no-deps", "--dest", str(folder), "pip")
    lines = (line.partition("=") for line in run(*pip, "config", "list").splitlines())
    known = {key.rpartition(".")[2]: literal_eval(value) for key, _, value in lines}
    conf = [f"{key} = {known[key]}" for key in KEPT_OF_PIP if key in known]
    if "cert" in known:
        shutil.copy(known["cert"], folder / "certificates.pem")
        conf.append("cert = /pip/certificates.pem")
    (folder / "pip.conf").write_text("\n".join(["[global]", *conf]) + "\n")
    (folder / "Dockerfile").write_text(SYSTEM.format(rootfs=f"{name}-rootfs"))
    client.api.import_image_from_file(str(engine.ROOTFS), repository=f"{name}-rootfs", tag="latest")
    run("docker", "build", "--quiet", "--force-rm", "--network", "none", "--tag", name, str(folder))


def run(*command: str) -> str:
    env = {**os.environ, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1200)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} exited {done.returncode}: {(done.stderr or done.stdout)[-1500:]}")
    return done.stdout


def seconds(work: Callable[..., None], *arguments: Any) -> float:
    started = time.monotonic()
    work(*arguments)
    return time.monotonic() - started


class Way(NamedTuple):
    """Title and size of one way to build, and the seconds of each repetition."""

    title: str
    kb: int
    seconds: list[float]


def measure(setup: Setup) -> list[Way]:
    """In turns, after one that warms up. MLflow's is built without the builder's cache, and once more with it."""
    packed(setup, Model(1, 1))
    built(setup, Model(1, 1))
    run("docker", "push", "--quiet", setup.plain)
    ways, version = [], count(2)
    for kb in SIZES_KB:
        ours, dockers = Way("one layer over the registry's API", kb, []), Way("docker build and push, same base", kb, [])
        for _ in range(REPEATS):
            ours.seconds.append(seconds(packed, setup, Model(next(version), kb)))
            dockers.seconds.append(seconds(built, setup, Model(next(version), kb)))
        ways += [ours, dockers]
    for title, options in {"MLflow's Dockerfile, nothing cached": ("--no-cache",), "MLflow's, its first layer cached": ()}.items():
        model = Model(next(version), SIZES_KB[0])
        mlflow_context(setup, model)
        ways.append(Way(title, model.kb, [seconds(installed, setup, model, *options)]))
    return ways


def tell(ways: list[Way]) -> None:
    ours = {way.kb: median(way.seconds) for way in ways if way.title.startswith("one")}
    for way in ways:
        ratio = median(way.seconds) / ours[way.kb]
        print(f"  {way.title:<36} {way.kb:>5} kB {spread(way.seconds)} s; {ratio:.1f} times one layer")
    print("  target: one layer ≤ 1 s, docker ≥ 5 times, MLflow's ≥ 50 times")


def main() -> None:
    lacking = engine.lacking()
    if lacking:
        print(f"images are not measured: {lacking}")
        return
    with engine.engine() as client, engine.registry() as registry, tempfile.TemporaryDirectory() as folder:
        system = engine.make_serving_base(registry)
        bases = repository_of(f"{registry}/models", NAME)
        base = bases.reference(bases.names()[key_of(ROOT / "serving", system)])
        setup = Setup(registry, system, base, f"{registry}/system", Path(folder))
        try:
            put_system(client, Path(folder, "system"), setup.plain)
            ways = measure(setup)
        finally:
            engine.forget(client, registry)
    print(f"a version packed or built, and pushed to a registry on this host, {REPEATS} times in turns; MLflow's once")
    tell(ways)
    keep("images", {"ways": [way._asdict() for way in ways]})


if __name__ == "__main__":
    main()
