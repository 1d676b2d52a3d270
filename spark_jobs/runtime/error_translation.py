"""Translates any exception of a job into one sentence, and into the type that says whether a retry can help."""

import re
from collections.abc import Iterator
from contextlib import suppress

from pyspark import SparkContext

from contract.errors import BadData, RetrainingError, StoreError, TransientError
from spark_jobs.runtime.executor_failures import failure_in
from spark_jobs.runtime.spark_api import jvm

# SQLSTATE classes 22 (data exception) and 42 (syntax, names, types), files of another format or schema, and values that
# `handleInvalid: error` forbids.
DATA = re.compile(
    r"SQLSTATE: (22|42)|PARQUET_COLUMN_DATA_TYPE_MISMATCH|is not a Parquet file|CSV header does not conform to the schema"
    r"|Parquet column cannot be converted|Unseen label: |StringIndexer encountered NULL value"
)
GONE = re.compile(r"\[FAILED_READ_FILE\.FILE_NOT_EXIST\]|It is possible the underlying files have been updated")
CONDITION = re.compile(r"\[([A-Z][A-Z0-9_]+)[.\]]")
JAVA_MESSAGE = re.compile(r"^(?:: |Caused by: )[\w.$]+: (.+)$", re.MULTILINE)


def explain(error: Exception) -> RetrainingError:
    """A RetrainingError as it is; else the nearest type, with the informative lines of the message."""
    if isinstance(error, RetrainingError):
        return error
    text = str(error)
    if "No space left on device" in text:
        return StoreError("the disk of the store or of Spark's scratch folder is full: free space, then clear this task")
    if failure := failure_in(text):
        return failure
    if GONE.search(text):
        return TransientError(
            f"a source's file is gone: it was replaced or vacuumed after the job had listed it ({_gist(text)}); "
            "clear this task, and where the spec names a version, name one that is kept"
        )
    if DATA.search(text) or any(state.startswith(("22", "42")) for state in _states(text)):
        return BadData(f"data and query do not fit together: {_gist(text)}")
    return TransientError(f"{type(error).__name__}: {_gist(text)} (this job's log has the rest)")


def bad_data(error: Exception) -> BadData:
    """The error as BadData; raised again where it is of another kind."""
    translated = explain(error)
    if isinstance(translated, BadData):
        return translated
    raise error


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]


def _states(text: str) -> Iterator[str]:
    """SQLSTATE of each error condition in the text: Spark 3.5 does not print it."""
    with suppress(Exception):  # the JVM itself may have died
        for condition in dict.fromkeys(CONDITION.findall(text)) if SparkContext._jvm else ():
            yield jvm().org.apache.spark.SparkThrowableHelper.getSqlState(condition) or ""


def _gist(text: str) -> str:
    """First and innermost message of a Java error; else the first line."""
    messages = JAVA_MESSAGE.findall(text) or [text.strip().partition("\n")[0]]
    if messages[0].startswith("Job aborted due to stage failure"):  # Spark 3.5 puts it before the error itself
        messages = messages[1:] or messages
    return "; ".join(message.strip()[:400] for message in dict.fromkeys([messages[0], messages[-1]]))
