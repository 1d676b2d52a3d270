"""Fixtures of suites of several environments; they import what they need themselves, since not every environment has it."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests import jvm

if TYPE_CHECKING:
    from tests.release.registry import LocalRegistry


os.environ.setdefault("SPARK_SUBMIT_OPTS", jvm.QUICK)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[LocalRegistry]":
    from tests.release.registry import LocalRegistry, skip_without_registry

    skip_without_registry()
    started = LocalRegistry(tmp_path_factory.mktemp("registry"))
    yield started
    started.stop()
