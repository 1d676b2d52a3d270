"""Faults on a real YARN: whatever dies, at most one application of a key does the work, none is left over, and the result is right.

The applications are real, submitted by a real spark-submit; what they do in Spark's place is in stand_in_job.py.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from plugins.retraining.engines.base import EngineAway
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.spark.orphans import stop_orphans
from tests.hadoop_cluster import Cluster, Server
from tests.plugins.late import WHOLE_RUN
from tests.plugins.yarn.task import JOB, LOG, PATIENCE_S, Task, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[3]
WORKER = """
import logging, sys
from pathlib import Path
from contract.documents import RunDocument
from contract.store.factory import store_at
from plugins.retraining.engines.yarn import YarnEngine
from plugins.retraining.spark.job_runner import poke
from plugins.retraining.context import TaskContext
run = RunDocument.model_validate_json(open(sys.argv[1]).read())
engine = YarnEngine(run.platform.spark, Path(sys.argv[2]))
states = dict.fromkeys(("validate", "train", "compare"))
poke(TaskContext("validate", run, store_at(run.platform.store), {}, 0), engine, states, logging.getLogger())
"""


@contextmanager
def worker(task: Task, folder: Path) -> Iterator[subprocess.Popen]:
    """A task's process that pokes once: it finds nothing, and submits."""
    file = folder / "run.json"
    file.write_text(task.run.model_dump_json())
    command = [sys.executable, "-c", WORKER, str(file), str(JOB)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)
    yield process
    process.kill()
    process.wait()


def driver_of(application: str) -> list[psutil.Process]:
    """The Java process of the ApplicationMaster, which holds the driver."""

    def fits(process: psutil.Process) -> bool:
        line = " ".join(process.cmdline())
        return process.name() == "java" and "ApplicationMaster" in line and application.removeprefix("application_") in line

    pids = []
    for process in psutil.process_iter():
        try:
            if fits(process):
                pids.append(process)
        except psutil.Error:
            continue
    return pids


def node_of(cluster: Cluster, application: str) -> Server:
    """The NodeManager of the node with the driver."""
    app = httpx.get(f"{cluster.rm_url}/ws/v1/cluster/apps/{application}", timeout=10).json()["app"]
    ports = [cluster.ports.address("node_http", number).rpartition(":")[2] for number in range(cluster.nodes)]
    return cluster.nodemanagers[ports.index(app["amHostHttpAddress"].rpartition(":")[2])]


@contextmanager
def patient(cluster: Cluster) -> Iterator[None]:
    """A ResourceManager that counts a node as lost after ten minutes, as they do elsewhere, and not after seconds."""
    restart(cluster, "-Dyarn.nm.liveness-monitor.expiry-interval-ms=600000")
    try:
        yield
    finally:
        restart(cluster)


def restart(cluster: Cluster, *options: str) -> None:
    cluster.resourcemanager.kill()
    cluster.resourcemanager.start(*options)
    cluster.await_ready()


@pytest.mark.parametrize(
    "reached",
    [
        pytest.param(Task.applications, id="before it could note what it submitted"),
        pytest.param(Task.is_at_work, id="while it waits"),
    ],
)
def test_a_worker_is_killed(task, tmp_path, reached):
    first = task("waits")
    with worker(first, tmp_path) as process:
        wait_for(lambda: reached(first), "the application is registered, or at work")
        process.kill()

    first.go()
    first.end()

    assert len(first.applications()) == 1
    first.assert_done_once()


@pytest.mark.parametrize("at", ["validate", "train"])
def test_a_submission_that_registers_late_beside_that_of_the_next_try_does_nothing(task, at):
    """Beside a job at work, or between two jobs: the document of the first is there."""
    first = task(f"{at}=waits")
    first.states = WHOLE_RUN
    engine = first.engine
    command = engine.command(first.submission(), first.store, LOG)
    late = subprocess.Popen(
        command, env=engine.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(1)
    os.killpg(late.pid, signal.SIGSTOP)
    assert first.applications() == []

    assert first.poke_once() is None  # the next try submits
    at_work = {"validate": first, "train": first.following()}[at]
    wait_for(at_work.is_at_work, "the job of the next try is at work")
    os.killpg(late.pid, signal.SIGCONT)
    late.wait(PATIENCE_S)
    other = wait_for(
        lambda: [application for application in first.applications() if application.phase == "ended"], "the late one has ended"
    )
    first.go()
    first.end()

    assert len(first.applications()) == 2
    assert first.store.names(f"worked/{first.task_context().key}") != [other[0].id]
    first.assert_done_once()


def test_the_resource_manager_is_killed_and_started_again(task, cluster):
    first = task("waits")
    assert first.poke_once() is None
    wait_for(first.is_at_work, "the job is at work")

    cluster.resourcemanager.kill()
    with pytest.raises(EngineAway, match=r"ResourceManager at .* does not answer"):
        first.poke_once()
    cluster.resourcemanager.start()
    first.go()
    first.end()
    cluster.await_ready()

    assert len(first.applications()) == 1
    first.assert_done_once()


def test_the_resource_manager_is_out_of_reach_for_a_minute(task, cluster):
    first, away = task("waits"), 0
    with patient(cluster):
        assert first.poke_once() is None
        wait_for(first.is_at_work, "the job is at work")

        os.killpg(cluster.resourcemanager.pid, signal.SIGSTOP)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with pytest.raises(EngineAway):
                first.poke_once()
            away += 1
        os.killpg(cluster.resourcemanager.pid, signal.SIGCONT)
        first.go()
        first.end()

    assert away > 1
    assert len(first.applications()) == 1
    first.assert_done_once()


def test_the_application_master_is_killed(task):
    first = task("waits")
    first.poke_once()
    wait_for(first.is_at_work, "the job is at work")
    key, (application,) = first.task_context().key, first.applications()

    for process in driver_of(application.id):
        process.kill()
    with pytest.raises(EngineTrouble, match=r"killed from outside|ended without a result"):
        first.end()
    first.go()
    first.end()

    assert first.task_context().key != key
    assert [candidate.phase for candidate in first.applications(key)] == ["ended"]
    first.assert_done_once()


def test_a_node_is_lost_with_its_driver_and_comes_back(task, cluster):
    first = task("waits")
    first.poke_once()
    wait_for(first.is_at_work, "the job is at work")
    key, (application,) = first.task_context().key, first.applications()
    node = node_of(cluster, application.id)

    node.kill()
    with pytest.raises(EngineTrouble, match=r"lost|killed from outside|ended without a result"):
        first.end()
    first.poke_once()  # the next try, on the other node
    node.start()
    wait_for(first.is_at_work, "the next try's job is at work")
    first.go()
    first.end()

    assert first.task_context().key != key
    first.assert_done_once()
    wait_for(lambda: not driver_of(application.id), "the first driver is gone", seconds=60)


def run_at(task, step: str) -> list[Task]:
    """The three tasks of a run whose one application is at work on this step."""
    first = task(f"{step}=waits")
    first.states = WHOLE_RUN
    assert first.poke_once() is None
    tasks = [first, first.following(), first.following().following()]
    at_work = next(candidate for candidate in tasks if candidate.step == step)
    wait_for(at_work.is_at_work, f"{step} is at work")
    return tasks


@pytest.mark.parametrize("step", ["train", "compare"])
def test_an_application_is_killed_between_two_jobs(task, step):
    """What was done stays; the next try does the jobs that are left."""
    tasks = run_at(task, step)
    done, left = [other for other in tasks if other.end_is_there()], [other for other in tasks if not other.end_is_there()]
    (application,) = left[0].applications()
    keys = [other.task_context().key for other in left]

    for process in driver_of(application.id):
        process.kill()
    with pytest.raises(EngineTrouble, match=r"killed from outside|ended without a result"):
        left[0].end()
    left[0].go()
    left[0].states = WHOLE_RUN
    for other in done:
        other.assert_done_once()
    end_the_rest(left[0])

    assert left[0].task_context().key != keys[0]
    assert len({other.id for key in keys for other in left[0].applications(key)}) == 1


def end_the_rest(task: Task) -> None:
    """This task and those after it: one application for all."""
    task.end()
    task.assert_worked_once()
    if task.step != "compare":
        end_the_rest(task.following())
    else:
        task.assert_done_once()


def test_a_node_is_lost_between_two_jobs_and_its_driver_comes_back(task, cluster):
    validate, train, _ = run_at(task, "train")
    (application,) = train.applications()
    node, key = node_of(cluster, application.id), train.task_context().key

    node.kill()
    with pytest.raises(EngineTrouble, match=r"lost|killed from outside|ended without a result"):
        train.end()
    train.states = WHOLE_RUN
    train.poke_once()
    node.start()
    train.go()
    end_the_rest(train)

    assert train.task_context().key != key
    validate.assert_done_once()
    wait_for(lambda: not driver_of(application.id), "the first driver is gone", seconds=60)


def test_the_worker_of_validate_is_killed_while_train_works(task, tmp_path):
    first = task("train=waits")
    with worker(first, tmp_path) as process:
        wait_for(first.following().is_at_work, "train is at work")
        process.kill()

    first.go()
    end_the_rest(first)


def test_the_sweep_between_two_jobs_stops_what_nobody_waits_for_and_nothing_else(task):
    _, train, _ = run_at(task, "train")
    engine, store = train.engine, train.store
    waits, marked = {"validate": "success", "train": None}, {"validate": "success", "train": "failed"}

    assert stop_orphans(store, engine, lambda model, run, step: waits[step]) == []
    (left,) = stop_orphans(store, engine, lambda model, run, step: marked[step])

    assert left.why == "late train of manual__1 is failed"
    wait_for(lambda: not train.applications(live=True), "it is stopped")


def test_train_is_cleared_without_what_follows_while_compare_works(task):
    validate, train, compare = run_at(task, "compare")
    (old,) = compare.applications()

    train.clear_number = 1
    train.states = {"validate": "success", "train": "running", "compare": "up_for_reschedule"}
    assert train.poke_once() is None
    wait_for(lambda: not train.applications(compare.task_context().key, live=True), "the old application is stopped")
    train.go()
    end_the_rest(train)

    assert train.engine.state(old.id).phase == "ended"
    assert len(train.applications(validate.task_context().key)) == 1


def test_a_task_that_a_person_marked_failed(task):
    first = task("waits")
    first.poke_once()
    wait_for(first.is_at_work, "the job is at work")
    engine = first.engine

    assert stop_orphans(first.store, engine, lambda *_: "up_for_reschedule") == []
    (left,) = stop_orphans(first.store, engine, lambda *_: "failed")

    assert left.why == "late validate of manual__1 is failed"
    wait_for(lambda: not first.applications(live=True), "it is stopped")
    assert stop_orphans(first.store, engine, lambda *_: "failed") == []


def test_a_run_that_is_cleared_stops_its_old_job_and_does_the_work_anew(task):
    first = task("waits")
    first.poke_once()
    wait_for(first.is_at_work, "the job is at work")
    key = first.task_context().key

    first.clear_number = 1
    assert first.poke_once() is None
    wait_for(lambda: not first.applications(key, live=True), "the old one is stopped")
    first.go()
    first.end()

    assert first.task_context().key != key
    first.assert_done_once()
