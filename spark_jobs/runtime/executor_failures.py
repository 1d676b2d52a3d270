"""Failures of executors and driver as Spark reports them, with their meaning and what to change."""

import re
from typing import NamedTuple

from contract.errors import BadData, OutOfMemory, RetrainingError, TransientError


class ExecutorFailure(NamedTuple):
    """A pattern in Spark's error text and its meaning, in which {0} is the pattern's first group."""

    pattern: str
    meaning: str
    kind: type[RetrainingError] = TransientError


FAILURES = (
    ExecutorFailure(
        r"Container killed by YARN for exceeding (?:physical )?memory limits\.\s*([\d.]+ [KMGT]i?B of [\d.]+ [KMGT]i?B)",
        "YARN killed an executor, which took more memory than it may ({0}): raise spark.executor.memoryOverhead or memory",
        OutOfMemory,
    ),
    ExecutorFailure(
        r"Lost task[^\n]*java\.lang\.OutOfMemoryError: ([^\n]{1,60})|[Ee]xit (?:status|code): (?:52|-104)\b",
        "an executor ran out of memory: raise spark.executor.memory, or lower spark.executor.cores, whose tasks share it",
        OutOfMemory,
    ),
    ExecutorFailure(
        r"java\.lang\.OutOfMemoryError: ([^\n]{1,60})",
        "the driver ran out of memory ({0}): raise spark.driver.memory",
        OutOfMemory,
    ),
    ExecutorFailure(
        r"Python worker exited unexpectedly|MemoryError",
        "a Python process of an executor died, usually out of memory: raise spark.executor.memoryOverhead",
        OutOfMemory,
    ),
    ExecutorFailure(
        r"Total size of serialized results of \d+ tasks \(([^)]+)\) is bigger than",
        "the driver was sent {0}, more than spark.driver.maxResultSize: raise it in spark.conf, and spark.driver.memory",
        OutOfMemory,
    ),
    ExecutorFailure(
        r"ExecutorLostFailure \(executor \S+ exited[^)]*\) Reason: ([^\n]{1,200})",
        "executors were lost over and over ({0}): clear this task when the cluster is healthy again",
    ),
    ExecutorFailure(
        r"SparkContext was shut down|SparkContext has been shutdown|stopped SparkContext|Spark context stopped",
        "the cluster ended the application while it worked: clear this task when it is healthy again",
    ),
    ExecutorFailure(
        r"PythonException[\s\S]*?\n(\w+(?:Error|Exception|Exit)?: [^\n]{1,300})\n",
        "Python code failed on a row of the data: {0}",
        BadData,
    ),
)


def failure_in(text: str) -> RetrainingError | None:
    """The first failure that matches the error's text with stack traces; None where no process has died."""
    for failure in FAILURES:
        if match := re.search(failure.pattern, text):
            return failure.kind(failure.meaning.replace("{0}", next(filter(None, match.groups()), "")))
    return None
