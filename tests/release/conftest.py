import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.release.local import LocalHost


@pytest.fixture(scope="session")
def host() -> Iterator[LocalHost]:
    """One running host for all tests; each uses a model name of its own."""
    with tempfile.TemporaryDirectory(prefix="host-") as folder:
        host = LocalHost(Path(folder))
        host.start()
        yield host
        host.stop()
