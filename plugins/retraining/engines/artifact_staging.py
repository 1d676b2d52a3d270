"""Uploads the jobs' code, their Python environment and Spark's jars for a cluster, once each.

Each is stored under the hash of its content, so that the cluster's nodes cache it between jobs.
"""

import fcntl
import hashlib
import io
import platform
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from contract.paths import StoreLayout
from contract.store.base import Store
from plugins.retraining.engines.spark_submit import BUNDLE, RUN, spark_home
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.task_log import Log

PACKAGES = ("contract", "spark_jobs")
ZIP_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # of every file, so that equal code gives an equal zip
PYTHON = "./environment/bin/python"  # relative to a container's working directory, where the environment is unpacked
ON_NODES = {"PYSPARK_PYTHON": PYTHON, "PYSPARK_DRIVER_PYTHON": PYTHON, "PYTHONUNBUFFERED": "1"}  # environment variables of a driver
NOT_SHIPPED = {"pyspark", "py4j", "test", "tests"}  # the cluster has its own pyspark and py4j


class StagedArtifacts(NamedTuple):
    """URLs that a cluster reads."""

    code: str
    environment: str
    jars: str


def ship(store: Store, python: str, log: Log) -> StagedArtifacts:
    return StagedArtifacts(ship_code(store), ship_environment(store, python, log), ship_jars(store, spark_home(python), log))


def ship_code(store: Store) -> str:
    return _stored(store, code_zip(BUNDLE), "zip")


def ship_run(store: Store) -> str:
    """Every job's entry point, which spark-submit takes as a URL of its own."""
    return _stored(store, RUN.read_bytes(), "py")


def _stored(store: Store, content: bytes, ending: str) -> str:
    """Stored under its hash: an existing object has the same content."""
    path = f"{StoreLayout.CODE}/{hashlib.sha256(content).hexdigest()[:32]}.{ending}"
    store.create(path, content)
    return address(store, path)


def code_zip(bundle: Path) -> bytes:
    """spark_jobs and contract; equal sources give equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zipped:
        for file in sorted(file for package in PACKAGES for file in (bundle / package).rglob("*.py")):
            about = zipfile.ZipInfo(file.relative_to(bundle).as_posix(), ZIP_TIMESTAMP)
            about.compress_type = zipfile.ZIP_DEFLATED
            zipped.writestr(about, file.read_bytes())
    return out.getvalue()


def ship_environment(store: Store, python: str, log: Log, on_nodes: str = "") -> str:
    """The worker's Spark environment without pyspark, keyed by the lock file that it was built from.

    `on_nodes`: path of the interpreter on the nodes; default: its path here.
    """
    home = Path(python).absolute().parents[1]  # not resolved: its python is a link
    interpreter = on_nodes or str(Path(python).resolve())
    lock = home / "requirements.lock"
    if not lock.exists():
        raise EngineTrouble(f"{lock} is missing, which keys the environment of spark.python: build the environment again")
    content = hashlib.sha256(lock.read_bytes() + on_nodes.encode()).hexdigest()[:32]
    named = f"{content}-py{platform.python_version()}-{platform.machine()}"
    return _uploaded_once(store, f"{StoreLayout.ENVIRONMENTS}/{named}.tar.gz", lambda file: _pack(home, interpreter, file), log)


def ship_jars(store: Store, home: Path, log: Log) -> str:
    """Without it each submission would upload the jars."""
    names = sorted(jar.name for jar in (home / "jars").glob("*.jar"))
    named = hashlib.sha256("\n".join(names).encode()).hexdigest()[:32]
    return _uploaded_once(store, f"{StoreLayout.JARS}/{named}.zip", lambda file: _zip_jars(home / "jars", file), log)


def address(store: Store, path: str) -> str:
    return f"{store.root}/{path}" if "://" in store.root else f"file://{store.root}/{path}"


def _uploaded_once(store: Store, path: str, make: Callable[[Path], None], log: Log) -> str:
    folder, _, name = path.rpartition("/")
    with _exclusive(path), tempfile.TemporaryDirectory() as temporary:
        if name not in store.names(folder):
            log.info("packing %s for the cluster, once", path)
            file = Path(temporary, name)
            make(file)
            store.upload(path, file)
            log.info("uploaded %s: %.0f MB", path, file.stat().st_size / 1e6)
    return address(store, path)


@contextmanager
def _exclusive(path: str) -> Iterator[None]:
    """Lock across the host's processes, so that tasks that start together pack only once."""
    with Path(tempfile.gettempdir(), f"retraining-{hashlib.sha256(path.encode()).hexdigest()[:16]}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _pack(home: Path, interpreter: str, file: Path) -> None:
    """Keeps modification times, by which Python validates its .pyc files."""

    def adjusted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if entry.issym() and entry.name.startswith("bin/python") and entry.linkname.startswith("/"):
            entry.linkname = interpreter
        return None if Path(entry.name).name in NOT_SHIPPED else entry

    config = (home / "pyvenv.cfg").read_text()
    there = re.sub(r"(?m)^home *=.*$", f"home = {Path(interpreter).parent}", config).encode()
    about = tarfile.TarInfo("pyvenv.cfg")
    about.size = len(there)
    with tarfile.open(file, "w:gz", compresslevel=1) as packed:
        packed.addfile(about, io.BytesIO(there))
        for part in ("bin", "lib"):
            packed.add(home / part, part, filter=adjusted)


def _zip_jars(jars: Path, file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as zipped:  # jars are compressed already
        for jar in sorted(jars.glob("*.jar")):
            zipped.write(jar, jar.name)
