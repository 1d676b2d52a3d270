"""Jars that pyspark lacks and tests of sources need: fetched by Maven once per Spark version into .build/jars/."""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

import pyspark
import pytest

ROOT = Path(__file__).resolve().parents[2]
POM = ROOT / "tests/jars/pom.xml"
OF_SPARK_3 = {"spark": "3.5.5", "scala": "2.12", "delta": "3.3.2"}  # Central has no Avro of 3.5.6; the pom has what fits Spark 4
DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}


def settings_with_jars() -> dict[str, str]:
    """Settings of a session with the jars; empty where they cannot be fetched."""
    folder = _folder()
    if not folder.exists():
        _fetch(folder)
    return {"spark.driver.extraClassPath": f"{folder}/*", **DELTA} if folder.exists() else {}


def absent(what: str) -> None:
    """Skips the test, or fails where all tests must run."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{what}: these tests need it")


def _properties() -> dict[str, str]:
    return OF_SPARK_3 if pyspark.__version__.startswith("3.") else {"spark": pyspark.__version__}


def _folder() -> Path:
    meant = hashlib.sha256(POM.read_bytes() + repr(_properties()).encode()).hexdigest()[:8]
    return ROOT / ".build/jars" / f"{pyspark.__version__}-{meant}"


def _fetch(folder: Path) -> None:
    """All jars or no folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=folder.parent))
    given = [f"-D{name}={value}" for name, value in _properties().items()]
    command = ["mvn", "-q", "-B", "-f", POM, "dependency:copy-dependencies", f"-DoutputDirectory={new}", *given]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"no jars by Maven: {error}")
        return
    new.rename(folder)
