"""An Airflow of its own, in a temporary folder: set up before anything imports Airflow."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

HOME = Path(tempfile.mkdtemp(prefix="retraining-dags-"))
ROOT = Path(__file__).resolve().parents[2]
BUNDLE = HOME / "bundle"

os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(BUNDLE),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}",
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(HOME / "logs"),
    "RETRAINING_PLATFORM": "test",
}

import pytest  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def bundle() -> Iterator[Path]:
    """The test models beside the real DAG file, as a bundle."""
    shutil.copytree(ROOT / "tests" / "dags" / "bundle", BUNDLE)
    shutil.copy(ROOT / "dags" / "retraining.py", BUNDLE / "dags")
    yield BUNDLE
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def database(bundle: Path) -> None:
    from airflow.utils.db import initdb

    initdb()
