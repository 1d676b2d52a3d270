import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.ml.feature import StringIndexer
from pyspark.sql import SparkSession

from contract.documents import Failure, JobRequest, RunDocument, find
from contract.errors import BadData, RetrainingError, StoreError, TransientError
from contract.paths import FileName
from contract.platform import Images, Platform, ServingHost
from contract.spark import Spark as SparkPlatform
from contract.spec import parse_spec
from contract.store.local import LocalStore
from spark_jobs import run
from spark_jobs.export.parity import ParityBroken
from spark_jobs.runtime.claims import holder
from spark_jobs.runtime.error_translation import explain
from spark_jobs.runtime.watchdog import Stuck

ROOT = Path(__file__).parents[2]
SPEC = Path(__file__).parent / "specs" / "aircraft_engine.yaml"
ERROR = "runs/aircraft_engine/manual/validate-k1.error.json"


def write_request(folder: Path) -> Path:
    platform = Platform(
        name="here",
        store=str(folder / "store"),
        data=str(folder / "nowhere"),
        mlflow="http://127.0.0.1:1",
        spark=SparkPlatform(python="python"),
        images=Images(repository="oci:images"),
        serving=ServingHost(python="python"),
    )
    frozen = RunDocument(
        model="aircraft_engine",
        run_id="manual",
        folder="runs/aircraft_engine/manual",
        clear_number=0,
        as_of=datetime(2026, 1, 10, tzinfo=UTC),
        backfill=False,
        spec=parse_spec(SPEC.read_text(), SPEC),
        spec_hash="any",
        sql=None,
        suites={},
        platform=platform,
        champion=None,
        code_hash="any",
    )
    path = folder / "store/runs/aircraft_engine/manual/validate-k1.request.json"
    path.parent.mkdir(parents=True)
    path.write_text(JobRequest(job="validate", key="k1", run=frozen).model_dump_json())
    return path


def write_requests(folder: Path) -> list[Path]:
    """Of the three jobs of one run."""
    first = write_request(folder)
    request = JobRequest.model_validate_json(first.read_text())
    paths = [first]
    for job in ("train", "compare"):
        paths.append(first.with_name(f"{job}-k1.request.json"))
        paths[-1].write_text(request.model_copy(update={"job": job}).model_dump_json())
    return paths


def arguments(*paths: Path, claim: int = 0) -> list[str]:
    store = paths[0].parents[3]
    return ["--store", str(store), *(part for path in paths for part in ("--job", str(path.relative_to(store)), str(claim)))]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Jobs in the order in which they were begun; in the place of their work each leaves a document."""
    names: list[str] = []

    def work(application: run.SparkApplication, request: JobRequest) -> None:
        names.append(request.job)
        application.store.create(request.files.document, b"{}")

    monkeypatch.setattr(run.SparkApplication, "work", work)
    return names


@pytest.mark.parametrize("left", ["json", "error.json", "failed.json"])
@pytest.mark.parametrize("job", ["validate", "compare"])
def test_an_application_with_a_job_that_ended_or_was_given_up_does_none(tmp_path, capsys, done, job, left) -> None:
    requests = write_requests(tmp_path)
    LocalStore(str(tmp_path / "store")).create(f"runs/aircraft_engine/manual/{job}-k1.{left}", b"{}")

    assert run.main(arguments(*requests)) == 0
    assert f"{job}-k1.{left} already exists; nothing to do" in capsys.readouterr().out
    assert done == []


@pytest.mark.parametrize("job", ["validate", "compare"])
def test_who_comes_second_to_any_claim_does_nothing(tmp_path, capsys, done, job) -> None:
    requests, store = write_requests(tmp_path), LocalStore(str(tmp_path / "store"))
    claim = b'{"holder": "application_1_0001"}'
    store.create(f"runs/aircraft_engine/manual/{job}-k1.claim-0.json", claim)

    assert run.main(arguments(*requests)) == 0
    assert f"{job}: application_1_0001 has claimed this work; nothing to do" in capsys.readouterr().out
    assert done == []


def test_all_jobs_are_claimed_before_the_first_and_each_says_when_it_began(tmp_path, monkeypatch) -> None:
    store, seen = LocalStore(str(tmp_path / "store")), []

    def work(application: run.SparkApplication, request: JobRequest) -> None:
        kinds = [FileName.parse(name) for name in store.names(request.run.folder)]
        seen.append((request.job, *(sum(name.kind == kind for name in kinds if name) for kind in ("claim", "started"))))

    monkeypatch.setattr(run.SparkApplication, "work", work)

    assert run.main(arguments(*write_requests(tmp_path))) == 0
    assert seen == [("validate", 3, 1), ("train", 3, 2), ("compare", 3, 3)]


@pytest.mark.parametrize("given_up", ["validate", "train", "compare"])
def test_an_application_ends_between_two_jobs_when_any_of_its_keys_was_given_up(tmp_path, monkeypatch, capsys, given_up) -> None:
    store, begun = LocalStore(str(tmp_path / "store")), []

    def work(application: run.SparkApplication, request: JobRequest) -> None:
        begun.append(request.job)
        store.create(f"{request.run.folder}/{given_up}-k1.failed.json", b"{}")

    monkeypatch.setattr(run.SparkApplication, "work", work)

    assert run.main(arguments(*write_requests(tmp_path))) == 0
    assert begun == ["validate"]
    assert f"train: {given_up}-k1.failed.json exists: this application is not waited for any more" in capsys.readouterr().out


def test_a_job_that_fails_ends_the_application_and_what_was_done_stays(tmp_path, monkeypatch) -> None:
    store, begun = LocalStore(str(tmp_path / "store")), []

    def work(application: run.SparkApplication, request: JobRequest) -> None:
        begun.append(request.job)
        if request.job == "train":
            raise BadData("no rows to train on")
        store.create(request.files.document, b"{}")

    monkeypatch.setattr(run.SparkApplication, "work", work)

    assert run.main(arguments(*write_requests(tmp_path))) == run.PERMANENT
    assert begun == ["validate", "train"]
    assert store.read("runs/aircraft_engine/manual/validate-k1.json") is not None
    assert find(store, ERROR.replace("validate", "train"), Failure).reason == "no rows to train on"


def test_the_holder_of_a_claim_is_yarns_application_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTAINER_ID", "container_e03_17_0007_01_000001")
    assert holder() == "application_17_0007"
    monkeypatch.setenv("CONTAINER_ID", "container_17_0007_01_000001")
    assert holder() == "application_17_0007"
    monkeypatch.delenv("CONTAINER_ID")
    assert holder().endswith(f":{os.getpid()}")


def start_job(request: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "spark_jobs/run.py", *arguments(request)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SPARK_LOCAL_IP": "127.0.0.1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)


def test_a_job_that_is_older_than_its_request_says_what_to_upgrade(tmp_path: Path) -> None:
    request = write_request(tmp_path)
    request.write_text(request.read_text().replace('"format":1,', '"format":2,', 1))
    assert start_job(request).stderr.endswith("reads up to format 1: upgrade the Spark jobs' code\n")


def test_a_missing_source_ends_the_job_with_one_sentence_and_exit_code_3(tmp_path: Path) -> None:
    done = start_job(write_request(tmp_path))

    store = LocalStore(str(tmp_path / "store"))
    reason = f"source planes: {tmp_path}/nowhere/planes.csv does not exist; check the source's path and its last delivery"
    assert done.returncode == run.PERMANENT, done.stderr
    assert f"validate failed: {reason}" in done.stdout
    assert find(store, ERROR, Failure) == Failure(step="validate", reason=reason, cause="data")
    assert store.read(ERROR.replace("error", "claim-0")) is not None
    assert f"validate failed: {reason}" in store.read(ERROR.replace("error.json", "progress-0001.txt")).decode()


@pytest.mark.parametrize(
    ("error", "code", "cause"),
    [(ParityBroken("p"), run.PERMANENT, "permanent"), (Stuck("s"), run.FAILED, "transient")],
)
def test_exit_code_and_cause_say_whether_a_retry_can_help(tmp_path: Path, error: RetrainingError, code: int, cause: str) -> None:
    request, store = JobRequest.model_validate_json(write_request(tmp_path).read_text()), LocalStore(str(tmp_path / "store"))

    assert run.fail(request, store, error) == code
    assert find(store, ERROR, Failure).cause == cause


def test_a_query_that_the_data_does_not_fit_is_bad_data(spark: SparkSession) -> None:
    with pytest.raises(Exception, match="DIVIDE_BY_ZERO") as divided:
        spark.sql("SELECT 1 / id FROM range(2)").collect()
    with pytest.raises(Exception, match="UNRESOLVED_COLUMN") as unknown:
        spark.sql("SELECT nope FROM range(2)")

    assert isinstance(explain(divided.value), BadData)
    assert isinstance(explain(unknown.value), BadData)


@pytest.mark.parametrize(("odd", "sentence"), [("'x'", "Unseen label: x"), ("null", "encountered NULL value")])
def test_a_category_that_the_spec_forbids_is_bad_data(spark: SparkSession, odd: str, sentence: str) -> None:
    indexer = StringIndexer(inputCols=["c"], outputCols=["i"], handleInvalid="error").fit(spark.sql("SELECT 'a' AS c"))

    with pytest.raises(Exception, match=sentence) as raised:
        indexer.transform(spark.sql(f"SELECT cast({odd} AS string) AS c")).collect()

    assert isinstance(explain(raised.value), BadData)
    assert sentence in str(explain(raised.value))


def test_a_file_of_another_type_is_bad_data_and_named(spark: SparkSession, tmp_path: Path) -> None:
    for day, value in (("2026-01-01", "1.5D"), ("2026-01-02", "'many'")):
        spark.sql(f"SELECT {value} AS x").write.parquet(f"{tmp_path}/rows/date={day}")

    with pytest.raises(Exception, match="x") as raised:
        spark.read.parquet(f"{tmp_path}/rows").selectExpr("sum(x)").collect()

    assert isinstance(explain(raised.value), BadData)
    assert re.search(r"olumn:? \[x\].* double", str(explain(raised.value)))


def test_machinery_that_fails_may_be_tried_again() -> None:
    lost = explain(OSError("connection reset by peer\nand more"))
    full = explain(OSError(28, "No space left on device"))

    assert type(lost) is TransientError
    assert str(lost) == "OSError: connection reset by peer (this job's log has the rest)"
    assert type(full) is StoreError
    assert "free space" in str(full)
