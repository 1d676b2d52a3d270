"""Why a job failed, and whether a retry can help."""

from typing import Literal, Self

from contract.base_model import Versioned
from contract.errors import BadData, OutOfMemory, OutOfTime, PermanentError, RetrainingError

Cause = Literal["data", "memory", "time", "permanent", "transient"]
CAUSES: dict[Cause, type[RetrainingError]] = {  # the first that fits
    "data": BadData,
    "memory": OutOfMemory,
    "time": OutOfTime,
    "permanent": PermanentError,
}


class Failure(Versioned):
    """Why a job of a step failed; the cause says whether a retry can help, and with what."""

    step: str
    reason: str
    cause: Cause = "transient"

    @classmethod
    def of(cls, step: str, error: Exception) -> Self:
        cause: Cause = next((cause for cause, kind in CAUSES.items() if isinstance(error, kind)), "transient")
        return cls(step=step, reason=str(error), cause=cause)
