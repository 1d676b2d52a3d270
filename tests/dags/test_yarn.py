"""Faults on a real YARN: whatever dies, at most one application of a key does the work, none is left over, and the result is right.

The applications are real, submitted by a real spark-submit; what they do in Spark's place is in yarn_job.py.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from contract import documents
from contract.documents import Failure, JobRequest, RunDocument, ValidationReport
from contract.errors import BadData, OutOfMemory, RetrainingError
from contract.spark import Driver, Executor, Spark
from contract.store import Store, store_at
from plugins.retraining.engines import yarn
from plugins.retraining.engines.base import Application, EngineAway, Job, Tags
from plugins.retraining.engines.yarn import YarnEngine
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.jobs import look
from plugins.retraining.leftovers import stop_leftovers
from plugins.retraining.progress import tell_progress
from plugins.retraining.steps import Work
from tests.dags.late import late_run
from tests.hadoop_cluster import Cluster, Server, running

ROOT = Path(__file__).resolve().parents[2]
JOB = Path(__file__).with_name("yarn_job.py")
LOG = logging.getLogger("retraining.test")
PATIENCE_S = 150
PACKAGES = ("pydantic", "annotated_types", "typing_extensions", "typing_inspection", "yaml", "_yaml", "requests", "urllib3", "idna")
PACKAGES += ("certifi", "charset_normalizer")

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("hadoop"), nodes=2) as cluster:
        before = dict(os.environ)
        extra = {"deploy-mode": "cluster", "yarn_resourcemanager_webapp_address": cluster.rm_url}
        os.environ["AIRFLOW_CONN_SPARK_YARN"] = json.dumps({"conn_type": "spark", "host": "yarn", "extra": extra})
        os.environ["HADOOP_CONF_DIR"] = str(cluster.conf)
        yield cluster
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def small_environment(tmp_path_factory) -> Path:
    """Spark's, with what the stand-in needs: a node without Hadoop's native library takes a minute for the whole of it."""
    real, home = ROOT / ".venv/spark", tmp_path_factory.mktemp("environment")
    place = "lib/python3.11/site-packages"
    (home / "bin").mkdir()
    (home / place).mkdir(parents=True)
    for path in (real / "bin").glob("python*"):
        shutil.copy(path, home / "bin", follow_symlinks=False)
    for name in PACKAGES:
        for path in (real / place).glob(f"{name}*"):
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, home / place / path.name)
    for name in ("pyspark", "py4j"):
        (home / place / name).symlink_to(real / place / name)
    (home / "bin/spark-submit").symlink_to(real / "bin/spark-submit")
    shutil.copy(real / "pyvenv.cfg", home)
    (home / "requirements.lock").write_text("\n".join(PACKAGES))
    return home / "bin/python"


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(yarn, "RUN", JOB)


class Task:
    """What one task of a run does, over as many looks and tries as are asked for; each look is by a new engine."""

    def __init__(self, cluster: Cluster, store: Store, run: RunDocument) -> None:
        self.cluster, self.store, self.run = cluster, store, run
        self.clear_number = 0

    @property
    def spark(self) -> Spark:
        return self.run.platform.spark

    def work(self) -> Work:
        return Work("validate", self.run, self.store, {}, self.clear_number)

    def look(self) -> str | None:
        return look(self.work(), YarnEngine(self.spark), LOG).path

    def end(self) -> str:
        """Looks as Airflow does, until there is a document."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                if path := self.look():
                    return path
            except EngineAway:
                pass
            time.sleep(1)
        raise AssertionError(f"no result in {PATIENCE_S} s: {self.applications()}")

    def applications(self, key: str = "", live: bool = False) -> list[Application]:
        return YarnEngine(self.spark).find(key or self.work().key, live)

    def is_at_work(self, key: str = "") -> bool:
        return bool(self.store.names(f"worked/{key or self.work().key}"))

    def go(self) -> None:
        self.store.create("signals/go", b"")

    def job(self) -> Job:
        work = self.work()
        request = JobRequest(job="validate", key=work.key, run=work.run)
        return Job(request, documents.write(self.store, work.beside("request"), request), 0, self.run.platform.spark.conf)

    def assert_done_once(self, key: str = "") -> None:
        """One application worked, and nothing lives that carries the key."""
        key = key or self.work().key
        assert len(self.store.names(f"worked/{key}")) == 1
        wait_for(lambda: not self.applications(key, live=True), "none is left over")
        report = documents.read(self.store, self.work().path, ValidationReport)
        assert report.snapshot.rows == {"parcels": 5}


@pytest.fixture
def task(cluster, bundle, small_environment) -> Iterator[Callable[..., Task]]:
    made: list[Task] = []

    def make(behaviour: str = "well", **given) -> Task:
        store = store_at(f"{cluster.fs}/stores/{uuid.uuid4().hex[:8]}")
        spark = Spark(
            engine="yarn",
            connection="spark_yarn",
            python=str(small_environment),
            hadoop_conf=str(cluster.conf),
            driver=Driver(memory="512m"),
            executor=Executor(memory="512m", instances=1),
            conf={"spark.yarn.appMasterEnv.STAND_IN": behaviour, **given.pop("conf", {})},
        ).model_copy(update=given)
        run = late_run(bundle, store, spark, "manual__1")
        made.append(Task(cluster, store, run))
        return made[-1]

    yield make
    for each in made:
        each.go()
        for application in each.applications(yarn_store(each), live=True):
            YarnEngine(each.spark).stop(application.id)


def yarn_store(task: Task) -> str:
    return Tags.of(task.job().request).store


def wait_for(holds: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> object:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := holds():
            return found
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


def driver_of(application: str) -> list[psutil.Process]:
    """The Java process of the ApplicationMaster, which holds the driver."""

    def fits(process: psutil.Process) -> bool:
        line = " ".join(process.cmdline())
        return process.name() == "java" and "ApplicationMaster" in line and application.removeprefix("application_") in line

    found = []
    for process in psutil.process_iter():
        try:
            if fits(process):
                found.append(process)
        except psutil.Error:
            continue
    return found


def node_of(cluster: Cluster, application: str) -> Server:
    """The NodeManager of the node with the driver."""
    app = httpx.get(f"{cluster.rm_url}/ws/v1/cluster/apps/{application}", timeout=10).json()["app"]
    ports = [cluster.ports.address("node_http", number).rpartition(":")[2] for number in range(cluster.nodes)]
    return cluster.nodemanagers[ports.index(app["amHostHttpAddress"].rpartition(":")[2])]


def test_a_job_ends_well_and_its_lines_come_into_the_tasks_log(task, caplog):
    first = task()

    with caplog.at_level(logging.INFO, LOG.name):
        assert first.end() == first.work().path
        tell_progress(first.work(), Forgetful(), LOG)

    first.assert_done_once()
    (application,) = first.applications()
    assert {"model:late", "step:validate"} <= application.tags
    assert application.vcpu_hours > 0
    assert application.link == f"{first.cluster.rm_url}/cluster/app/{application.id}"
    said = [record.message for record in caplog.records if record.name == LOG.name]
    assert "validate: at work" in said
    assert "validate: done" in said


class Forgetful:
    def get(self, key: str, default: int) -> int:
        return default

    def set(self, key: str, value: int) -> None: ...


def test_what_the_job_says_of_bad_data_is_what_the_task_fails_with(task):
    bad = task("bad data")

    with pytest.raises(BadData, match="parcels: 3 of 5 rows have no weight"):
        bad.end()


# Each of the faults.

WORKER = """
import logging, sys, time
from contract.documents import RunDocument
from contract.store import store_at
from plugins.retraining.engines import yarn
from plugins.retraining.engines.yarn import YarnEngine
from plugins.retraining.jobs import look
from plugins.retraining.steps import Work
yarn.RUN = sys.argv[2]
run = RunDocument.model_validate_json(open(sys.argv[1]).read())
look(Work("validate", run, store_at(run.platform.store), {}, 0), YarnEngine(run.platform.spark), logging.getLogger())
"""


@contextmanager
def worker(task: Task, folder: Path) -> Iterator[subprocess.Popen]:
    """A task's process that looks once: it finds nothing, and submits."""
    file = folder / "run.json"
    file.write_text(task.run.model_dump_json())
    command = [sys.executable, "-c", WORKER, str(file), str(JOB)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_a_worker_killed_before_it_could_note_what_it_submitted(task, tmp_path):
    first = task("waits")
    with worker(first, tmp_path) as process:
        wait_for(first.applications, "the application is registered")
        process.kill()

    first.go()
    first.end()

    assert len(first.applications()) == 1
    first.assert_done_once()


def test_a_worker_killed_while_it_waits(task, tmp_path):
    first = task("waits")
    with worker(first, tmp_path) as process:
        wait_for(first.is_at_work, "the job is at work")
        process.kill()

    first.go()
    first.end()

    assert len(first.applications()) == 1
    first.assert_done_once()


def test_a_submission_that_registers_late_beside_that_of_the_next_try_does_nothing(task):
    first = task("waits")
    engine = YarnEngine(first.spark)
    command = engine.command(first.job(), first.store, LOG)
    late = subprocess.Popen(
        command, env=engine.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(1)
    os.killpg(late.pid, signal.SIGSTOP)
    assert first.applications() == []

    assert first.look() is None  # the next try submits
    wait_for(first.is_at_work, "the job of the next try is at work")
    os.killpg(late.pid, signal.SIGCONT)
    late.wait(PATIENCE_S)
    other = wait_for(lambda: [each for each in first.applications() if each.phase == "ended"], "the late one has ended")
    first.go()
    first.end()

    assert len(first.applications()) == 2
    assert first.store.names(f"worked/{first.work().key}") != [other[0].id]
    first.assert_done_once()


def test_the_resource_manager_is_killed_and_started_again(task, cluster):
    first = task("waits")
    assert first.look() is None
    wait_for(first.is_at_work, "the job is at work")

    cluster.resourcemanager.kill()
    with pytest.raises(EngineAway, match=r"ResourceManager at .* does not answer"):
        first.look()
    cluster.resourcemanager.start()
    first.go()
    first.end()
    cluster.await_ready()

    assert len(first.applications()) == 1
    first.assert_done_once()


def test_the_resource_manager_is_out_of_reach_for_a_minute(task, cluster):
    first = task("waits")
    assert first.look() is None
    wait_for(first.is_at_work, "the job is at work")

    os.killpg(cluster.resourcemanager.pid, signal.SIGSTOP)
    until, away = time.monotonic() + 60, 0
    while time.monotonic() < until:
        with pytest.raises(EngineAway):
            first.look()
        away += 1
    os.killpg(cluster.resourcemanager.pid, signal.SIGCONT)
    first.go()
    first.end()

    assert away > 1
    assert len(first.applications()) == 1
    first.assert_done_once()


def test_the_application_master_is_killed(task):
    first = task("waits")
    first.look()
    wait_for(first.is_at_work, "the job is at work")
    key, (application,) = first.work().key, first.applications()

    for process in driver_of(application.id):
        process.kill()
    with pytest.raises(EngineTrouble, match=r"killed from outside|ended without a result"):
        first.end()
    first.go()
    first.end()

    assert first.work().key != key
    assert [each.phase for each in first.applications(key)] == ["ended"]
    first.assert_done_once()


def test_a_node_is_lost_with_its_driver_and_comes_back(task, cluster):
    first = task("waits")
    first.look()
    wait_for(first.is_at_work, "the job is at work")
    key, (application,) = first.work().key, first.applications()
    node = node_of(cluster, application.id)

    node.kill()
    with pytest.raises(EngineTrouble, match=r"lost|killed from outside|ended without a result"):
        first.end()
    first.look()  # the next try, on the other node
    node.start()
    wait_for(first.is_at_work, "the next try's job is at work")
    first.go()
    first.end()

    assert first.work().key != key
    first.assert_done_once()
    wait_for(lambda: not driver_of(application.id), "the first driver is gone", 60)


def test_a_task_that_a_person_marked_failed(task):
    first = task("waits")
    first.look()
    wait_for(first.is_at_work, "the job is at work")
    engine = YarnEngine(first.spark)

    assert stop_leftovers(first.store, engine, lambda *_: "up_for_reschedule") == []
    (left,) = stop_leftovers(first.store, engine, lambda *_: "failed")

    assert left.why == "late validate of manual__1 is failed"
    wait_for(lambda: not first.applications(live=True), "it is stopped")
    assert stop_leftovers(first.store, engine, lambda *_: "failed") == []


def test_a_run_that_is_cleared_stops_its_old_job_and_does_the_work_anew(task):
    first = task("waits")
    first.look()
    wait_for(first.is_at_work, "the job is at work")
    key = first.work().key

    first.clear_number = 1
    assert first.look() is None
    wait_for(lambda: not first.applications(key, live=True), "the old one is stopped")
    first.go()
    first.end()

    assert first.work().key != key
    first.assert_done_once()


# Failures, told in one sentence.


def sentence_of(task: Task) -> str:
    with pytest.raises(RetrainingError) as raised:
        task.end()
    failures = [name for name in task.store.names(task.run.folder) if name.endswith(".failed.json")]
    recorded = documents.read(task.store, f"{task.run.folder}/{failures[-1]}", Failure)
    assert recorded.reason == str(raised.value)
    return recorded.reason


def test_a_queue_that_is_not_there(task):
    assert "the queue nowhere refused the application: set spark.queue" in sentence_of(task(queue="nowhere"))


def test_a_container_larger_than_any_node(task):
    told = sentence_of(task(driver=Driver(memory="64g")))

    assert "no node large enough for what is asked: lower spark.driver or spark.executor memory" in told


def test_a_driver_that_takes_too_much_memory_gets_more_at_the_next_try(task, caplog):
    hungry = task("eats memory", driver=Driver(memory="512m"))

    with pytest.raises(OutOfMemory, match=r"YARN killed the driver's container, which took more memory than it may: raise"):
        hungry.end()
    with caplog.at_level(logging.INFO, LOG.name):
        hungry.look()

    assert "validate: spark.driver.memory is 768m now, not 512m: 1 earlier died for want of memory" in caplog.messages
