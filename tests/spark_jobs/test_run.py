import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.ml.feature import StringIndexer
from pyspark.sql import SparkSession

from contract.documents import Failure, JobRequest, RunDocument, find
from contract.errors import BadData, RetrainingError, StoreError, TransientError
from contract.platform import Images, Platform, ServingHost
from contract.spark import Spark as SparkPlatform
from contract.spec import parse_spec
from contract.store.local import LocalStore
from spark_jobs import run
from spark_jobs.export.parity import ParityBroken
from spark_jobs.runtime.claims import holder
from spark_jobs.runtime.error_translation import explain
from spark_jobs.runtime.parent_watch import ORPHANED, VARIABLE, ParentProcess, is_alive, parse_parents
from spark_jobs.runtime.watchdog import Stuck

ROOT = Path(__file__).parents[2]
SPEC = Path(__file__).parent / "specs" / "aircraft_engine.yaml"
WATCHING = (
    "import time; from spark_jobs.runtime.logs import start_logging; "
    "from spark_jobs.runtime.parent_watch import watch_parents; "
    "start_logging(); watch_parents(0.1); print('works', flush=True); time.sleep(60)"
)
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


def start(code: str, parents: str = "") -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: parents}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)


def named(process: subprocess.Popen) -> str:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return f"{process.pid}:{fields[19]}"


@pytest.fixture
def parent() -> subprocess.Popen:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_a_job_leaves_when_its_task_is_killed(parent: subprocess.Popen) -> None:
    job = start(WATCHING, named(parent))
    assert job.stdout.readline() == "works\n"

    parent.kill()  # not waited for: a killed process that nobody fetched is gone too

    assert job.wait(timeout=10) == ORPHANED
    assert f"process {parent.pid}, which this job works for, is gone" in job.stdout.read()


def test_a_job_leaves_when_any_of_its_parents_is_killed(parent: subprocess.Popen) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        job = start(WATCHING, f"{named(parent)},{named(other)}")
        assert job.stdout.readline() == "works\n"

        other.kill()

        assert job.wait(timeout=10) == ORPHANED


def test_a_job_whose_task_is_gone_already_never_begins(parent: subprocess.Popen) -> None:
    name = named(parent)
    parent.kill()
    parent.wait()

    job = start(WATCHING, name)

    assert job.wait(timeout=30) == ORPHANED
    assert "works\n" not in job.stdout.readlines()


def test_a_job_works_on_while_its_task_lives(parent: subprocess.Popen) -> None:
    job = start(WATCHING, named(parent))
    assert job.stdout.readline() == "works\n"

    time.sleep(1)  # ten looks

    assert job.poll() is None
    job.kill()
    job.wait()


def test_another_process_with_the_same_id_is_not_the_parent() -> None:
    started = int(Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19])

    assert is_alive(ParentProcess(os.getpid(), started))
    assert not is_alive(ParentProcess(os.getpid(), started + 1))


def test_parents_are_read_as_pid_and_start_time() -> None:
    assert parse_parents("12:345,67:890") == [ParentProcess(12, 345), ParentProcess(67, 890)]
    assert parse_parents("") == []


def arguments(path: Path, job: str = "validate", claim: int = 0) -> list[str]:
    return [job, "--store", str(path.parents[3]), "--request", str(path.relative_to(path.parents[3])), "--claim", str(claim)]


def test_a_request_for_another_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is a request for validate, not for train"):
        run.main(arguments(write_request(tmp_path), "train"))


@pytest.mark.parametrize("left", ["validate-k1.json", "validate-k1.error.json", "validate-k1.failed.json"])
def test_a_job_that_ended_or_was_given_up_is_not_done_again(tmp_path: Path, capsys: pytest.CaptureFixture, left: str) -> None:
    request = write_request(tmp_path)
    LocalStore(str(tmp_path / "store")).create(f"runs/aircraft_engine/manual/{left}", b"{}")

    assert run.main(arguments(request)) == 0
    assert f"{left} already exists; nothing to do" in capsys.readouterr().out


def test_who_comes_second_to_a_claim_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    request = write_request(tmp_path)
    claim = b'{"holder": "application_1_0001"}'
    LocalStore(str(tmp_path / "store")).create("runs/aircraft_engine/manual/validate-k1.claim-0.json", claim)

    assert run.main(arguments(request)) == 0
    assert "validate: application_1_0001 has claimed this work; nothing to do" in capsys.readouterr().out


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
