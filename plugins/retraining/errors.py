"""Errors that stop a run on Airflow's side. `BadData`, `InvalidFile`, `Stopped` and its subclasses are not retried."""

from contract.errors import RetrainingError


class EngineTrouble(RetrainingError):
    """The infrastructure under a job failed; a retry may succeed."""


class GivenUp(RetrainingError):
    """A job failed too often to be retried."""


class InvalidParam(RetrainingError):
    """A run was triggered with an invalid param."""


class Stopped(RetrainingError):
    """The run ends without a release; the previous version keeps serving."""


class RolledBack(Stopped):
    """The release was started, and all traffic went back to the previous version."""
