"""A search whose process is killed, with its JVM, while candidates are fitted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from contract.spec import ModelSpec
from contract.store.local import LocalStore
from spark_jobs.runtime.session import start_session
from tests.spark_jobs.searches import FILES, rows_by_second, search_with
from tests.spark_jobs.test_search import spec_with
from tests.waiting import until

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]


def slow_spec() -> ModelSpec:
    """Twelve fits of seconds each."""
    grid = {"stepSize": [0.1, 0.2, 0.3], "maxDepth": [3, 4], "subsamplingRate": [0.8, 1.0]}
    return spec_with({"name": "gbt_classifier", "params": {"maxIter": 8}, "search": {"grid": grid}})


def test_it_goes_on_from_what_had_ended(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    store = LocalStore(str(tmp_path))
    process = subprocess.Popen([sys.executable, "-m", __name__, str(tmp_path)], cwd=ROOT, start_new_session=True)
    try:
        until(lambda: len(store.names(FILES.folder)) >= 3, "three candidates have ended", 120, every_s=0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    ended = len(store.names(FILES.folder))

    tried = search_with(store, rows_by_second(spark), slow_spec(), [0, 1])

    assert 3 <= ended < 12
    assert len(tried) == 12
    said = capsys.readouterr().out
    assert f"{ended} fits of the search were made by an earlier attempt" in said
    assert said.count(": log_loss 0.") == 12 - ended


if __name__ == "__main__":
    search_with(LocalStore(sys.argv[1]), rows_by_second(start_session("search")), slow_spec(), [0, 1])
