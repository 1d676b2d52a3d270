"""A job that died without a reason: its diagnostics and log become one sentence, with the driver's last lines below."""

import pytest

from contract.errors import OutOfMemory
from plugins.retraining.engines.base import Application
from plugins.retraining.engines.diagnosis import diagnose
from plugins.retraining.errors import EngineTrouble

MEMORY = (
    "FAILED: Application application_1_0001 failed 1 times due to AM Container, exited with  exitCode: -104\n"
    "Container [pid=7,containerID=container_1_0001] is running 9000B beyond the 'PHYSICAL' memory limit. Current usage: 1.1 GB"
)
QUEUE = "YarnException: Application application_1_0001 submitted by user ann to unknown queue: nowhere"
LARGE = "Required AM memory (65536+6553 MB) is above the max threshold (4096 MB) of this cluster! Please check the values"


@pytest.mark.parametrize(
    ("diagnostics", "lines", "kind", "sentence"),
    [
        (MEMORY, [], OutOfMemory, "YARN killed the driver's container, which exceeded its memory limit: raise spark.driver"),
        (QUEUE, [], EngineTrouble, "the queue nowhere refused the application: set spark.queue to one that exists"),
        (LARGE, [], EngineTrouble, "the cluster has no node large enough for the request"),
        (
            "FAILED: ",
            ["x", "java.lang.OutOfMemoryError: Java heap space"],
            OutOfMemory,
            "the driver ran out of memory (Java heap space)",
        ),
        ("exit code 137", [], EngineTrouble, "the driver was killed from outside: by a person, or by a host short of memory"),
        ("KILLED: Application killed by user.", [], EngineTrouble, "the application was killed by a person or by the cluster"),
        ("FAILED: AM Container released on a *lost* node", [], EngineTrouble, "the node of the driver was lost"),
    ],
)
def test_a_sign_is_explained_with_what_to_do(diagnostics, lines, kind, sentence):
    error = diagnose("train", Application("application_1_0001", "ended", diagnostics), lines)

    assert type(error) is kind
    assert str(error).startswith(f"train (application_1_0001): {sentence}")


def test_without_a_sign_the_engines_diagnostics_are_reported():
    error = diagnose("train", Application("a1", "ended", "FAILED: something new\nand more"), [])

    assert str(error) == "train ended without a result or a reason (a1: FAILED: something new); clear this task to try again"


def test_the_drivers_last_lines_follow_and_no_more_than_twenty():
    error = diagnose("train", Application("a1", "ended", "exit code 9"), [f"line {number}" for number in range(50)] + [" "])

    _, title, *shown = str(error).splitlines()
    assert title == "The driver's last lines:"
    assert shown == [f"  line {number}" for number in range(30, 50)]
