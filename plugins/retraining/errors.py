"""Errors that stop a run on Airflow's side; contract/errors.py draws the tree that they hang on."""

from contract.errors import PermanentError, TransientError


class EngineTrouble(TransientError):
    """The infrastructure under a job failed; a retry may succeed."""


class GivenUp(PermanentError):
    """A job failed too often to be retried."""


class InvalidParam(PermanentError):
    """A run was triggered with an invalid param."""


class Stopped(PermanentError):
    """The run ends without a release; the previous version keeps serving."""


class RolledBack(Stopped):
    """The release was started, and all traffic went back to the previous version."""
