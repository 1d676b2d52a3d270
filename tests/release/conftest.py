import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.release.local import LocalHost
from tests.stores import hdfs, hdfs_cluster, s3, s3_server, store  # noqa: F401  (fixtures)


@pytest.fixture(scope="session")
def host() -> Iterator[LocalHost]:
    """One running host for all tests; each uses a model name of its own."""
    with tempfile.TemporaryDirectory(prefix="host-") as folder:
        host = LocalHost(Path(folder))
        host.start()
        yield host
        host.stop()


@pytest.fixture(scope="session")
def container_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator["ContainerHost"]:  # noqa: F821
    """One engine and one registry for all tests; each uses a model name of its own."""
    from tests.release.engine import ContainerHost, Engine, skip_without_engine
    from tests.release.registry import LocalRegistry

    skip_without_engine()
    engine = Engine(Path(tempfile.mkdtemp(prefix="engine-")))
    registry = LocalRegistry(tmp_path_factory.mktemp("registry"))
    try:
        yield ContainerHost(engine, registry, tmp_path_factory.mktemp("containers"))
    finally:
        engine.end()
        registry.stop()
