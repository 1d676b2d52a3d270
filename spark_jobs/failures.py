"""What went wrong in a job, as one sentence for people and one decision: can a retry help?"""

from pyspark.errors import PySparkException

from contract.errors import BadData, RetrainingError, StoreError

DATA_ERRORS = ("22", "42")  # SQLSTATE classes: values that do not fit (22), names and types that do not fit (42)


def explain(error: Exception) -> RetrainingError:
    """The error itself if it was raised on purpose, else its nearest kind with the first line of what it says."""
    if isinstance(error, RetrainingError):
        return error
    text = str(error)
    if "No space left on device" in text:
        return StoreError("the disk of the store or of Spark's scratch folder is full: free space, then clear this task")
    first = text.strip().partition("\n")[0][:500]
    if isinstance(error, PySparkException) and (error.getSqlState() or "").startswith(DATA_ERRORS):
        return BadData(f"the data does not fit the query: {first}")
    return RetrainingError(f"{type(error).__name__}: {first} (this job's log has the rest)")
