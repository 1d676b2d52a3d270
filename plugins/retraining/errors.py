"""What stops a run on Airflow's side. `BadData`, `InvalidFile` and everything below `Stopped` are not worth a second try."""

from contract.errors import RetrainingError


class EngineTrouble(RetrainingError):
    """The machinery under a job failed; another try may find it well again."""


class GivenUp(RetrainingError):
    """A job died so often that another try would be a waste."""


class InvalidParam(RetrainingError):
    """A run was triggered with a param that cannot be used."""


class Stopped(RetrainingError):
    """A gate after the comparison said no; the old version goes on serving."""


class RolledBack(Stopped):
    """The release was begun and everything returned to the old version."""
