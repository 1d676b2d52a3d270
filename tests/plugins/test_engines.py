"""What a Spark step may rely on, held by the local engine with real processes, and by its stand-in."""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from contract import documents
from contract.documents import Claim, Failure, ValidationReport
from contract.errors import BadData, StoreError
from contract.spark import Driver, Spark
from contract.store.local import LocalStore
from plugins.retraining.context import TaskContext
from plugins.retraining.engines import engine_for, local
from plugins.retraining.engines.base import Engine
from plugins.retraining.engines.local import LocalEngine, log_of, processes_of
from plugins.retraining.errors import EngineTrouble, GivenUp
from plugins.retraining.operators.cluster import engine_of
from plugins.retraining.spark import job_runner
from plugins.retraining.spark.job_log import forward_log
from plugins.retraining.spark.job_runner import poke, wait
from plugins.retraining.spark.task_states import States
from tests.plugins.fakes import FakeEngine
from tests.plugins.late import ALONE, WHOLE_RUN, late_run
from tests.plugins.stand_in_job import signals

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
MakeTask = Callable[..., TaskContext]


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
            return FakeEngine(**dict(part.split("=") for part in behaviour.split(",")))
        monkeypatch.setenv("STAND_IN", behaviour)
        return engine_for(spark)

    return make


@pytest.fixture
def make_task(bundle, tmp_path, spark) -> MakeTask:
    store = LocalStore(str(tmp_path / "store"))
    run = late_run(bundle, store, spark, "r")
    return lambda clear_number=0: TaskContext("validate", run, store, {}, clear_number)


def end(task: TaskContext, engine: Engine, log: logging.Logger, states: States = ALONE) -> str:
    """Path of the document, as a task that waits in its process comes to it."""
    state = poke(task, engine, states, log)
    return state.path or wait(task, engine, lambda: None, log).path


def tasks_of_run(validate: TaskContext) -> list[TaskContext]:
    """As Airflow's tasks have them, one after the other, each with the documents of those before it."""
    train = replace(validate, step="train", inputs={"validate": validate.path})
    compare = replace(validate, step="compare", inputs={"validate": validate.path, "train": train.path})
    return [validate, train, compare]


@pytest.fixture
def log() -> logging.Logger:
    return logging.getLogger("retraining.test")


def test_a_job_that_ends_well_leaves_its_document(make_engine, make_task, log):
    task = make_task()

    path = end(task, make_engine("validate=well"), log)

    assert path == task.path
    assert task.find(ValidationReport).snapshot.rows == {"parcels": 5}


def test_a_finished_job_is_taken_up_and_not_done_again(make_engine, make_task, log):
    engine = FakeEngine()
    path = end(make_task(), make_engine("validate=well"), log)

    assert end(make_task(), engine, log) == path
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
        end(first, make_engine(f"validate={behaviour}"), log)

    assert sentence in documents.read(first.store, first.beside("failed"), Failure).reason
    assert make_task().key != first.key
    assert end(make_task(), make_engine("validate=well"), log) == make_task().path


def test_the_third_death_of_a_job_is_its_last_and_a_clearing_begins_to_count_anew(make_task, log):
    for _ in range(2):
        with pytest.raises(EngineTrouble, match="the disk is full"):
            end(make_task(), FakeEngine(validate="fails"), log)
    with pytest.raises(GivenUp, match=r"the disk is full.* \(it failed 3 times: clear the task when the cause is fixed\)"):
        end(make_task(), FakeEngine(validate="fails"), log)

    with pytest.raises(EngineTrouble, match="the disk is full"):
        end(make_task(clear_number=1), FakeEngine(validate="fails"), log)


def test_a_failure_that_the_job_left_before_its_task_was_killed_is_not_waited_for_again(make_task, log):
    task, engine = make_task(), FakeEngine()
    documents.write(task.store, task.beside("error"), Failure(step="validate", reason="no rows in the window", cause="data"))

    with pytest.raises(BadData, match="no rows in the window"):
        end(task, engine, log)
    assert engine.ran == []


def test_a_store_that_fails_while_the_result_is_read_does_not_repeat_the_job(make_task, log, monkeypatch):
    task, engine = make_task(), FakeEngine()
    there = [None, StoreError("the store does not answer")]  # before the job, and after it

    def read(path: str) -> None:
        if isinstance(answer := there.pop(0), StoreError):
            raise answer

    monkeypatch.setattr(task.store, "read", lambda path: None if path.endswith(".error.json") else read(path))
    with pytest.raises(StoreError, match="does not answer"):
        end(task, engine, log)
    monkeypatch.undo()

    assert end(make_task(), engine, log) == task.path
    assert engine.ran == ["validate"]


def test_clearing_gives_new_work(make_task, log):
    engine = FakeEngine()

    end(make_task(clear_number=0), engine, log)
    end(make_task(clear_number=1), engine, log)

    assert engine.ran == ["validate", "validate"]


def test_the_task_log_has_the_jobs_lines_and_the_named_file_has_all(spark, make_task, log, caplog):
    task, memory = make_task(), {}
    with caplog.at_level(logging.INFO, log.name):
        end(task, engine_for(spark), log)
        forward_log(task, Memory(memory), log)

    lines = [record.message for record in caplog.records if record.name == log.name]
    (file,) = [Path(line.rpartition(" is in ")[2]) for line in lines if "Spark's whole output is in" in line]
    assert any(line.startswith("validate: at work as process") for line in lines)
    assert not any("something of Spark's" in line for line in lines)
    assert "WARN something of Spark's" in file.read_text()
    assert "validate: at work" in file.read_text()


class Memory(NamedTuple):
    """Airflow's task state store."""

    values: dict[str, object]

    def get(self, key: str, default: object) -> object:
        return self.values.get(key, default)

    def set(self, key: str, value: object) -> None:
        self.values[key] = value


def test_nothing_of_airflows_reaches_the_job(spark, make_task, log, caplog, monkeypatch):
    monkeypatch.setenv("STAND_IN", "tells")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")

    with caplog.at_level(logging.INFO, log.name):
        end(make_task(), engine_for(spark), log)
        forward_log(make_task(), Memory({}), log)

    assert "nothing of Airflow" in [record.message for record in caplog.records]


def test_the_command_has_the_connections_master_and_the_platforms_conf(spark, make_task, log):
    end(make_task(), engine_for(spark), log)

    submitted = Path(spark.python).with_name("submitted").read_text()
    assert submitted.startswith("--master local[1] --conf spark.ui.enabled=false --conf spark.yarn.tags=")
    arguments = f"--store {make_task().store.root} --job runs/late/r/validate-{make_task().key}.request.json 0"
    assert f"{ROOT}/spark_jobs/run.py {arguments}" in submitted


def test_a_missing_connection_is_reported_and_not_taken_for_yarn(spark, make_task, log):
    absent = LocalEngine(spark.model_copy(update={"connection": "spark_absent"}))

    with pytest.raises(EngineTrouble, match="connection spark_absent is missing or its master is yarn, but engine local"):
        end(make_task(), absent, log)


def test_an_environment_without_spark_is_reported(spark, make_task, log, tmp_path):
    nowhere = LocalEngine(spark.model_copy(update={"python": str(tmp_path / "none" / "bin" / "python")}))

    with pytest.raises(EngineTrouble, match=r"the environment of .*/none/bin/python has no pyspark: set spark.python"):
        end(make_task(), nowhere, log)


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() != b""


def wait_for(condition: Callable[[], object], seconds: float = 20) -> object:
    give_up = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.05)
    return value


def worked(task: TaskContext) -> list[str]:
    """Which processes have begun with this job."""
    return task.store.names(f"worked/{task.key}")


def go(task: TaskContext) -> None:
    """The run's job that waits goes on."""
    task.store.create(f"{signals(task.run)}/go", b"")


def test_one_application_does_the_jobs_of_a_run(make_engine, make_task, log):
    engine, tasks = make_engine("validate=well"), tasks_of_run(make_task())
    paths = [poke(tasks[0], engine, WHOLE_RUN, log) and wait(task, engine, lambda: None, log).path for task in tasks]

    assert paths == [task.path for task in tasks]
    assert len({application.id for task in tasks for application in engine.find(task.key)}) == 1


@pytest.mark.parametrize(
    ("states", "submitted"),
    [
        pytest.param(WHOLE_RUN, "validate+train+compare", id="a new run"),
        pytest.param({"validate": "running", "train": "up_for_retry", "compare": None}, "validate+train+compare", id="a retry"),
        pytest.param(ALONE, "validate", id="cleared without what follows"),
        pytest.param({"validate": "running", "train": "failed", "compare": None}, "validate", id="nobody waits for train"),
        pytest.param({"validate": "running", "train": "queued", "compare": "removed"}, "validate+train", id="compare is gone"),
    ],
)
def test_only_jobs_whose_tasks_wait_for_them_are_submitted(make_task, log, states, submitted):
    engine = FakeEngine()

    poke(make_task(), engine, states, log)

    assert engine.submissions == [submitted]


def test_where_tasks_may_run_elsewhere_each_job_has_an_application_of_its_own(spark, make_task, log, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    engine = engine_for(spark)

    (validate, train, _) = tasks_of_run(make_task())
    poke(validate, engine, WHOLE_RUN, log)
    wait(validate, engine, lambda: None, log)

    assert train.store.read(train.beside("request")) is None


@pytest.mark.parametrize("step", ["train", "compare"])
def test_a_later_job_that_fails_keeps_what_was_done_and_is_submitted_alone(make_task, log, step):
    engine, tasks = FakeEngine(**{step: "fails"}), tasks_of_run(make_task())
    failed = next(task for task in tasks if task.step == step)
    end(tasks[0], engine, log, WHOLE_RUN)

    with pytest.raises(EngineTrouble, match="the disk is full"):
        end(failed, engine, log, WHOLE_RUN)
    engine.behaviour[step] = "well"
    again = replace(failed)
    end(again, engine, log, WHOLE_RUN)

    assert engine.submissions == ["validate+train+compare", "train+compare" if step == "train" else "compare"]
    assert engine.ran.count("validate") == 1
    assert again.store.read(again.path) is not None


def test_the_keys_of_the_application_are_those_of_the_tasks_also_after_failures_and_clears(make_task, log):
    engine = FakeEngine(train="fails")
    for clear_number in (0, 1):
        end(make_task(clear_number), engine, log, WHOLE_RUN)
        train = replace(tasks_of_run(make_task(clear_number))[1])
        with pytest.raises(EngineTrouble):
            end(train, engine, log, WHOLE_RUN)
        tasks = tasks_of_run(make_task(clear_number))
        for task, later in zip(tasks[1:], make_task(clear_number).later_jobs(), strict=True):
            assert (later.step, later.key, later.inputs) == (task.step, task.key, task.inputs)
        assert tasks[1].attempt.failed == 1


def test_what_an_application_cost_is_told_once(make_task, log, caplog):
    engine, tasks = FakeEngine(), tasks_of_run(make_task())
    poke(tasks[0], engine, WHOLE_RUN, log)
    engine.applications = {id: replace(application, vcpu_hours=0.5) for id, application in engine.applications.items()}

    with caplog.at_level(logging.INFO, log.name):
        for task in tasks:
            wait(task, engine, lambda: None, log)

    assert [record.message for record in caplog.records if "vCPU" in record.message] == [
        "the application of compare took 0.500 vCPU-hours"
    ]


@pytest.mark.parametrize(("died", "memory"), [([], "1g"), (["compare"], "1536m"), (["train", "compare"], "2304m")])
def test_deaths_for_want_of_memory_count_for_the_whole_run(make_task, log, died, memory):
    engine, task = SettingsEngine(), make_task()
    spark = task.run.platform.spark.model_copy(update={"driver": Driver(memory="1g")})
    task = replace(task, run=task.run.model_copy(update={"platform": task.run.platform.model_copy(update={"spark": spark})}))
    for step in died:
        documents.write(
            task.store, f"{task.run.folder}/{step}-{'0' * 32}.failed.json", Failure(step=step, reason="m", cause="memory")
        )

    poke(task, engine, WHOLE_RUN, log)

    assert engine.settings["spark.driver.memory"] == memory


class SettingsEngine(FakeEngine):
    def submit(self, submission, log):
        self.settings = submission.settings
        return super().submit(submission, log)


def test_a_cleared_run_stops_its_old_application(spark, make_task, log, monkeypatch):
    monkeypatch.setenv("STAND_IN", "validate=waits")
    engine, task = engine_for(spark), make_task()
    old = poke(task, engine, WHOLE_RUN, log).application
    wait_for(lambda: worked(task))

    monkeypatch.setenv("STAND_IN", "well")
    end(make_task(clear_number=1), engine, log)

    assert processes_of(old) == []
    assert wait(task, engine, lambda: None, log).path is None  # its task, if it still waits, leaves the decision to its next poke
    assert engine.find(task.key) == []


WORKER = """
import logging, sys
from contract import documents
from contract.spark import Spark
from contract.documents import RunDocument
from contract.store.local import LocalStore
from plugins.retraining.context import TaskContext
from plugins.retraining.engines.local import LocalEngine
from plugins.retraining.spark.job_runner import poke, wait
run = RunDocument.model_validate_json(open(sys.argv[1]).read())
task, engine = TaskContext("validate", run, LocalStore(run.platform.store), {}, 0), LocalEngine(run.platform.spark)
poke(task, engine, {"validate": "running", "train": None, "compare": None}, logging.getLogger())
wait(task, engine, lambda: None, logging.getLogger())
"""


@pytest.fixture
def worker(make_task, tmp_path) -> Callable[[str], subprocess.Popen]:
    """A task's process that submits a run's application and waits for validate."""

    def make(behaviour: str) -> subprocess.Popen:
        file = tmp_path / "run.json"
        file.write_text(make_task().run.model_dump_json())
        return subprocess.Popen([sys.executable, "-c", WORKER, str(file)], cwd=ROOT, env=os.environ | {"STAND_IN": behaviour})

    return make


@pytest.mark.parametrize("at", ["validate", "train"])
def test_a_killed_task_is_replaced_by_its_next_try_and_no_work_is_done_again(spark, make_task, log, worker, at):
    tasks = tasks_of_run(make_task())
    at_work = next(task for task in tasks if task.step == at)
    process = worker(f"{at}=waits")
    wait_for(lambda: worked(at_work), 60)

    process.send_signal(signal.SIGKILL)
    process.wait()
    go(at_work)
    paths = [end(replace(task), engine_for(spark), log, WHOLE_RUN) for task in tasks]

    assert paths == [task.path for task in tasks]
    assert [len(worked(task)) for task in tasks] == [1, 1, 1]


@pytest.mark.parametrize("killed", ["leader", "all"])
def test_an_application_that_is_killed_between_two_jobs_is_followed_by_one_for_the_jobs_that_are_left(
    spark, make_task, log, monkeypatch, killed
):
    monkeypatch.setenv("STAND_IN", "train=waits")
    engine, (validate, train, compare) = engine_for(spark), tasks_of_run(make_task())
    poke(validate, engine, WHOLE_RUN, log)
    wait_for(lambda: worked(train))
    living = processes_of(engine.find(train.key)[0].id)
    for process in {process.group for process in living}:
        os.kill(process, signal.SIGKILL) if killed == "leader" else os.killpg(process, signal.SIGKILL)
    go(train)

    end(train, engine, log, {"validate": "success", "train": "running", "compare": None})
    end(compare, engine, log, {"validate": "success", "train": "success", "compare": "running"})

    assert len(worked(validate)) == 1
    assert len(worked(train)) == (1 if killed == "leader" else 2)  # without its leader the rest works on
    assert [train.attempt.failed, compare.attempt.failed] == [0, 0]


def test_how_an_application_ended_while_nobody_waited_is_known_to_the_next_try(spark, make_task, log, monkeypatch):
    monkeypatch.setenv("STAND_IN", "validate=dies")
    id = poke(make_task(), engine_for(spark), WHOLE_RUN, log).application
    wait_for(lambda: worked(make_task()))
    wait_for(lambda: not processes_of(id))

    with pytest.raises(
        EngineTrouble, match=r"killed from outside[\s\S]*The driver's last lines:[\s\S]*validate: at work as process"
    ):
        end(make_task(), engine_for(spark), log)


def test_an_application_that_nobody_waits_for_ends_with_all_its_processes_and_that_is_no_failure(
    spark, make_task, log, monkeypatch
):
    monkeypatch.setattr(local, "LEASE_S", 2)
    monkeypatch.setenv("STAND_IN", "validate=waits")
    engine, task = engine_for(spark), make_task()
    id = poke(task, engine, WHOLE_RUN, log).application
    wait_for(lambda: worked(task))

    wait_for(lambda: not processes_of(id))
    go(task)
    path = end(make_task(), engine, log, WHOLE_RUN)

    assert "no task has waited for this application for 2 s: it ends" in log_of(id).read_text()
    assert (path, task.attempt.failed, len(worked(task))) == (task.path, 0, 2)


def test_a_task_that_waits_keeps_its_application_alive(spark, make_task, log, monkeypatch):
    monkeypatch.setattr(local, "LEASE_S", 2)
    monkeypatch.setenv("STAND_IN", "validate=waits")
    engine, task, began = engine_for(spark), make_task(), time.monotonic()

    def meanwhile() -> None:
        if time.monotonic() - began > 6:
            go(task)

    poke(task, engine, ALONE, log)
    path = wait(task, engine, meanwhile, log).path

    assert (path, len(worked(task))) == (task.path, 1)


def test_an_application_of_another_host_is_given_the_time_to_end(make_task, log, monkeypatch, caplog):
    monkeypatch.setattr(job_runner, "ELSEWHERE_S", 0.1)
    task = make_task()
    documents.write(task.store, task.beside("claim-0"), Claim(holder="worker-2:17"))

    with caplog.at_level(logging.INFO, log.name):
        end(task, FakeEngine(), log)

    assert "validate was begun on worker-2: waiting until it has surely ended there" in [r.message for r in caplog.records]


@pytest.mark.integration
def test_a_real_spark_job_without_its_data_fails_in_its_own_words(make_task, log, caplog):
    python = ROOT / ".venv" / "spark" / "bin" / "python"
    engine = engine_for(Spark(connection="spark_test", python=str(python), conf={"spark.ui.enabled": False}))

    with caplog.at_level(logging.INFO, log.name), pytest.raises((BadData, EngineTrouble), match="parcels"):
        end(make_task(), engine, log)

    assert not any("WARN" in record.message for record in caplog.records if record.name == log.name)


def test_a_run_that_was_frozen_with_another_engine_has_no_cluster_of_its_own(make_task):
    with pytest.raises(EngineTrouble, match=r"frozen on a platform without spark.emr.job_flow: trigger a new one"):
        engine_of(make_task(), lambda spark: FakeEngine())
