"""A job on a real YARN: how it ends, and its task's error and log."""

import logging

import httpx
import pytest

from contract import documents
from contract.documents import Failure
from contract.errors import BadData, OutOfMemory, RetrainingError
from contract.spark import Driver
from plugins.retraining.spark.job_log import forward_log
from tests.plugins.yarn.task import LOG, Task

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def test_a_job_ends_well_and_its_lines_come_into_the_tasks_log(task, caplog):
    first = task()

    with caplog.at_level(logging.INFO, LOG.name):
        assert first.end() == first.task_context().path
        forward_log(first.task_context(), Forgetful(), LOG)

    first.assert_done_once()
    (application,) = first.applications()
    assert "model:late" in application.tags
    assert application.vcpu_hours > 0
    assert application.link == f"{first.cluster.rm_url}/cluster/app/{application.id}"
    said = [record.message for record in caplog.records if record.name == LOG.name]
    assert any(line.startswith("validate: at work") for line in said)
    assert "validate: done" in said


class Forgetful:
    def get(self, key: str, default: int) -> int:
        return default

    def set(self, key: str, value: int) -> None: ...


def test_a_later_step_comes_before_an_earlier_one_in_yarns_queue(task, cluster):
    last = task()
    last.step, last.inputs = "compare", {"validate": "any", "train": "any"}
    last.end()

    (application,) = last.applications()
    app = httpx.get(f"{cluster.rm_url}/ws/v1/cluster/apps/{application.id}", timeout=10).json()["app"]
    assert app["priority"] == 2


def test_what_the_job_says_of_bad_data_is_what_the_task_fails_with(task):
    bad = task("bad data")

    with pytest.raises(BadData, match="parcels: 3 of 5 rows have no weight"):
        bad.end()


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
    sentence = sentence_of(task(driver=Driver(memory="64g")))

    assert "no node large enough for the request: lower spark.driver or spark.executor memory" in sentence


def test_a_driver_that_takes_too_much_memory_gets_more_at_the_next_try(task, caplog):
    hungry = task("eats memory", driver=Driver(memory="512m"))

    with pytest.raises(OutOfMemory, match=r"YARN killed the driver's container, which exceeded its memory limit: raise"):
        hungry.end()
    with caplog.at_level(logging.INFO, LOG.name):
        hungry.poke_once()

    assert "validate: spark.driver.memory is now 768m, was 512m: 1 earlier job(s) out of memory" in caplog.messages
