"""What a Spark step may rely on, held by the local engine with real processes, and by its stand-in."""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contract import documents
from contract.documents import Failure, ValidationReport
from contract.errors import BadData, StoreError
from contract.spark import Spark
from contract.store.local import LocalStore
from plugins.retraining.context import TaskContext
from plugins.retraining.engines import engine_for
from plugins.retraining.engines.base import Engine, Job
from plugins.retraining.engines.local import LocalEngine
from plugins.retraining.errors import EngineTrouble, GivenUp
from plugins.retraining.operators.cluster import engine_of
from plugins.retraining.spark.job_runner import poke, stop
from tests.plugins.fakes import FakeEngine
from tests.plugins.late import late_run

ROOT = Path(__file__).resolve().parents[2]
STUB = f"""#!{sys.executable}
import contextlib, pathlib, subprocess, sys

pathlib.Path(__file__).with_name("submitted").write_text(" ".join(sys.argv[1:]))
arguments = sys.argv[[argument.endswith("/run.py") for argument in sys.argv].index(True) + 1:]
job = subprocess.Popen([{sys.executable!r}, "-m", "tests.plugins.stand_in_job", *arguments], stdout=subprocess.PIPE, text=True)
for line in job.stdout:
    with contextlib.suppress(OSError):  # as Spark's launcher, which passes a job's output on while it can
        print(line, end="", flush=True)
sys.exit(job.wait())
"""

MakeEngine = Callable[[str], Engine]


@pytest.fixture
def spark(tmp_path) -> Spark:
    """An environment of Spark's with nothing in it but a stub of spark-submit."""
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "lib" / "python3.11" / "site-packages" / "pyspark").mkdir(parents=True)
    stub = tmp_path / "env" / "bin" / "spark-submit"
    stub.write_text(STUB)
    stub.chmod(0o755)
    return Spark(connection="spark_test", python=str(tmp_path / "env" / "bin" / "python"), conf={"spark.ui.enabled": False})


@pytest.fixture(params=["local", "stand-in"])
def make_engine(request, spark, monkeypatch) -> MakeEngine:
    def make(behaviour: str) -> Engine:
        if request.param == "stand-in":
            return FakeEngine(validate=behaviour)
        monkeypatch.setenv("STAND_IN", behaviour)
        return engine_for(spark)

    return make


@pytest.fixture
def make_task(bundle, tmp_path, spark) -> Callable[..., TaskContext]:
    store = LocalStore(str(tmp_path / "store"))
    run = late_run(bundle, store, spark, "r")
    return lambda clear_number=0: TaskContext("validate", run, store, {}, clear_number)


@pytest.fixture
def log() -> logging.Logger:
    return logging.getLogger("retraining.test")


def test_a_job_that_ends_well_leaves_its_document(make_engine, make_task, log):
    task = make_task()

    path = poke(task, make_engine("well"), log).path

    assert path == task.path
    assert task.find(ValidationReport).snapshot.rows == {"parcels": 5}


def test_a_finished_job_is_taken_up_and_not_done_again(make_engine, make_task, log):
    engine = FakeEngine()
    path = poke(make_task(), make_engine("well"), log).path

    assert poke(make_task(), engine, log).path == path
    assert engine.ran == []


@pytest.mark.parametrize(
    ("behaviour", "kind", "sentence"),
    [
        ("bad data", BadData, "parcels: 3 of 5 rows have no weight"),
        ("fails", EngineTrouble, "the disk is full: free space, then clear this task"),
        ("dies", EngineTrouble, "the driver was killed from outside: by a person, or by a host short of memory"),
    ],
)
def test_a_failed_job_is_recorded_with_its_own_reason_and_gets_a_new_key(make_engine, make_task, log, behaviour, kind, sentence):
    first = make_task()

    with pytest.raises(kind, match=re.escape(sentence)):
        poke(first, make_engine(behaviour), log)

    assert sentence in documents.read(first.store, first.beside("failed"), Failure).reason
    assert make_task().key != first.key
    assert poke(make_task(), make_engine("well"), log).path == make_task().path


def test_the_third_death_of_a_job_is_its_last_and_a_clearing_begins_to_count_anew(make_task, log):
    for _ in range(2):
        with pytest.raises(EngineTrouble, match="the disk is full"):
            poke(make_task(), FakeEngine(validate="fails"), log)
    with pytest.raises(GivenUp, match=r"the disk is full.* \(it failed 3 times: clear the task when the cause is fixed\)"):
        poke(make_task(), FakeEngine(validate="fails"), log)

    with pytest.raises(EngineTrouble, match="the disk is full"):
        poke(make_task(clear_number=1), FakeEngine(validate="fails"), log)


def test_a_failure_that_the_job_left_before_its_task_was_killed_is_not_waited_for_again(make_task, log):
    task, engine = make_task(), FakeEngine()
    documents.write(task.store, task.beside("error"), Failure(step="validate", reason="no rows in the window", cause="data"))

    with pytest.raises(BadData, match="no rows in the window"):
        poke(task, engine, log)
    assert engine.ran == []


def test_a_store_that_fails_while_the_result_is_read_does_not_repeat_the_job(make_task, log, monkeypatch):
    task, engine = make_task(), FakeEngine()
    there = [None, StoreError("the store does not answer")]  # before the job, and after it

    def read(path: str) -> None:
        if isinstance(answer := there.pop(0), StoreError):
            raise answer

    monkeypatch.setattr(task.store, "read", lambda path: None if path.endswith(".error.json") else read(path))
    with pytest.raises(StoreError, match="does not answer"):
        poke(task, engine, log)
    monkeypatch.undo()

    assert poke(make_task(), engine, log).path == task.path
    assert engine.ran == ["validate"]


def test_clearing_gives_new_work(make_task, log):
    engine = FakeEngine()

    poke(make_task(clear_number=0), engine, log)
    poke(make_task(clear_number=1), engine, log)

    assert engine.ran == ["validate", "validate"]


def test_stopping_without_a_job_is_harmless_and_gives_its_key_up(make_engine, make_task):
    task = make_task()

    stop(task, make_engine("well"))

    assert make_task().key != task.key


def test_the_task_log_has_the_jobs_lines_and_the_named_file_has_all(spark, make_task, log, caplog):
    with caplog.at_level(logging.INFO, log.name):
        poke(make_task(), engine_for(spark), log)

    first, *rest = [record.message for record in caplog.records if record.name == log.name]
    file = Path(first.removeprefix("validate: Spark's whole output is in "))
    assert any(line.startswith("validate: at work as process") for line in rest)
    assert not any("something of Spark's" in line for line in rest)
    assert "WARN something of Spark's" in file.read_text()
    assert "validate: at work" in file.read_text()


def test_nothing_of_airflows_reaches_the_job(spark, make_task, log, caplog, monkeypatch):
    monkeypatch.setenv("STAND_IN", "tells")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")

    with caplog.at_level(logging.INFO, log.name):
        poke(make_task(), engine_for(spark), log)

    assert "nothing of Airflow" in [record.message for record in caplog.records]


def test_the_command_has_the_connections_master_and_the_platforms_conf(spark, make_task, log):
    poke(make_task(), engine_for(spark), log)

    submitted = Path(spark.python).with_name("submitted").read_text()
    assert submitted.startswith("--master local[1] --conf spark.ui.enabled=false --conf spark.yarn.tags=")
    arguments = f"--store {make_task().store.root} --request runs/late/r/validate-{make_task().key}.request.json --claim 0"
    assert f"{ROOT}/spark_jobs/run.py validate {arguments}" in submitted


def test_a_missing_connection_is_reported_and_not_taken_for_yarn(spark, make_task, log):
    absent = LocalEngine(spark.model_copy(update={"connection": "spark_absent"}))

    with pytest.raises(EngineTrouble, match="connection spark_absent is missing or its master is yarn, but engine local"):
        poke(make_task(), absent, log)


def test_an_environment_without_spark_is_reported(spark, make_task, log, tmp_path):
    nowhere = LocalEngine(spark.model_copy(update={"python": str(tmp_path / "none" / "bin" / "python")}))

    with pytest.raises(EngineTrouble, match=r"the environment of .*/none/bin/python has no pyspark: set spark.python"):
        poke(make_task(), nowhere, log)


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() != b""


def wait_for(condition: Callable[[], object], seconds: float = 20) -> object:
    give_up = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.05)
    return value


def job_pid(file: Path) -> int | None:
    match = re.search(r"at work as process (\d+)", file.read_text()) if file.exists() else None
    return int(match[1]) if match else None


def job_of(task: TaskContext) -> Job:
    request = documents.JobRequest(job="validate", key=task.key, run=task.run)
    return Job(request, documents.write(task.store, task.beside("request"), request), 0, {})


def test_stop_ends_the_job_with_all_of_its_processes(spark, make_task, log, monkeypatch):
    from plugins.retraining.engines.local import log_file

    monkeypatch.setenv("STAND_IN", "hangs")
    engine, task = engine_for(spark), make_task()
    id = engine.submit(job_of(task), log)
    pid = wait_for(lambda: job_pid(log_file(job_of(task).request)))
    assert [application.id for application in engine.find(task.key)] == [id]

    stop(task, engine)

    wait_for(lambda: not is_there(pid))
    assert engine.state(id).diagnostics == f"exit code {-signal.SIGTERM}"
    assert engine.find(task.key) == []


WORKER = """
import logging, sys, time
from contract import documents
from contract.spark import Spark
from contract.store.local import LocalStore
from plugins.retraining.engines.base import Job
from plugins.retraining.engines.local import LocalEngine
store, path = LocalStore(sys.argv[2]), sys.argv[3]
job = Job(documents.read(store, path, documents.JobRequest), path, 0, {})
LocalEngine(Spark.model_validate_json(sys.argv[1])).submit(job, logging.getLogger())
time.sleep(60)
"""


def test_a_job_dies_with_its_killed_task_and_is_done_anew_by_the_next_try(spark, make_task, log, monkeypatch):
    from plugins.retraining.engines.local import log_file

    task = make_task()
    job = job_of(task)
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, spark.model_dump_json(), task.store.root, job.path],
        cwd=ROOT,
        env=os.environ | {"STAND_IN": "hangs"},
    )
    pid = wait_for(lambda: job_pid(log_file(job.request)), 60)

    worker.send_signal(signal.SIGKILL)
    worker.wait()
    path = poke(make_task(), engine_for(spark), log).path

    assert not is_there(pid)
    assert path == task.path


@pytest.mark.integration
def test_a_real_spark_job_without_its_data_fails_in_its_own_words(make_task, log, caplog):
    python = ROOT / ".venv" / "spark" / "bin" / "python"
    engine = engine_for(Spark(connection="spark_test", python=str(python), conf={"spark.ui.enabled": False}))

    with caplog.at_level(logging.INFO, log.name), pytest.raises((BadData, EngineTrouble), match="parcels"):
        poke(make_task(), engine, log)

    assert not any("WARN" in record.message for record in caplog.records if record.name == log.name)


def test_a_run_that_was_frozen_with_another_engine_has_no_cluster_of_its_own(make_task):
    with pytest.raises(EngineTrouble, match=r"frozen on a platform without spark.emr.job_flow: trigger a new one"):
        engine_of(make_task(), lambda spark: FakeEngine())
