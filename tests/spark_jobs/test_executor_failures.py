"""Error texts of dying processes, as recorded on a cluster, become one sentence and an error type."""

import re

import pytest

from contract.errors import BadData, OutOfMemory, TransientError
from spark_jobs.runtime.executor_failures import failure_in

LOST = "ExecutorLostFailure (executor 2 exited caused by one of the running tasks) Reason: "
ABORTED = "Job aborted due to stage failure: Task 1 in stage 3.0 failed 4 times, most recent failure: Lost task 1.3 in stage 3.0 "


@pytest.mark.parametrize(
    ("text", "kind", "sentence"),
    [
        (
            ABORTED + f"(127.0.0.1 executor 2): {LOST}Container "
            "killed by YARN for exceeding physical memory limits. 1.4 GB of 1.4 GB physical memory used. Consider boosting …",
            OutOfMemory,
            "YARN killed an executor, which took more memory than it may (1.4 GB of 1.4 GB): raise spark.executor.memoryOverhead",
        ),
        (
            ABORTED + "(127.0.0.1 executor 1): java.lang.OutOfMemoryError: Java heap space\n\tat java.base/java.util.Arrays",
            OutOfMemory,
            "an executor ran out of memory: raise spark.executor.memory",
        ),
        (
            f"{LOST}Container marked as failed: container_1 on host: a. Exit status: 52. Diagnostics: …",
            OutOfMemory,
            "an executor ran out of memory",
        ),
        (
            "An error occurred while calling o7.collectToPython.\n: java.lang.OutOfMemoryError: GC overhead limit exceeded\n\tat",
            OutOfMemory,
            "the driver ran out of memory (GC overhead limit exceeded): raise spark.driver.memory",
        ),
        (
            "Total size of serialized results of 12 tasks (1031.6 MiB) is bigger than spark.driver.maxResultSize",
            OutOfMemory,
            "the driver was sent 1031.6 MiB",
        ),
        (
            f"{LOST}Container marked as failed on host: a\n",
            TransientError,
            "executors were lost over and over (Container marked as failed on host: a)",
        ),
        (
            "Job 3 cancelled because SparkContext was shut down",
            TransientError,
            "the cluster ended the application while it worked",
        ),
        (
            "org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n  File x\nValueError: no such "
            "carrier: 'Q7'\n\n\tat org.apache.spark",
            BadData,
            "Python code failed on a row of the data: ValueError: no such carrier: 'Q7'",
        ),
    ],
)
def test_a_death_is_told_with_what_to_do(text, kind, sentence):
    failure = failure_in(text)

    assert type(failure) is kind
    assert re.match(re.escape(sentence), str(failure))


@pytest.mark.parametrize("text", ["", "[DIVIDE_BY_ZERO] Division by zero. SQLSTATE: 22012", "OSError: connection reset by peer"])
def test_what_is_no_death_is_left_to_others(text):
    assert failure_in(text) is None
