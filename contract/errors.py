"""The errors that cross packages. Each message is one sentence for a tired person: what, where, how many, what next.

    RetrainingError
    ├── PermanentError           another try would end the same: somebody must change something first
    │   ├── InvalidFile          a spec, platform or SQL file
    │   ├── TooNew               a stored document of a later format
    │   ├── BadData              the data that a job reads
    │   ├── OutOfTime            a job's time limit
    │   └── …                    what a gate, a registry, a signature or a person refuses: beside what raises it
    └── TransientError           another try may succeed
        ├── StoreError           the store
        ├── OutOfMemory          a process of a job: the next try gets more
        └── …                    engines, registries, MLflow, routers: beside what raises it

Airflow tries a task again after a TransientError, and only then (plugins/retraining/dag.py).
"""

from typing import ClassVar


class RetrainingError(Exception):
    """Base of every error this project raises on purpose; its message may be shown to people as it is."""


class PermanentError(RetrainingError):
    """Another try would end the same."""


class TransientError(RetrainingError):
    """Another try may succeed."""


class InvalidFile(PermanentError):
    """A spec or platform file with all of its problems."""

    def __init__(self, path: str, problems: list[str]):
        self.path = path
        self.problems = problems
        count = f"{len(problems)} problem" + ("s" if len(problems) != 1 else "")
        super().__init__(f"{path}: {count}: " + "; ".join(problems))


class StoreError(TransientError):
    """The store could not be read or written; nothing was committed."""


class TooNew(PermanentError):
    """A stored document has a higher format than this program reads: a newer version of this project wrote it.

    `reader` is the side that this program belongs to, of those that are upgraded one after the other. The packages of the other two
    sides set it when they are imported, before anything is read.
    """

    reader: ClassVar[str] = "the serving host"

    def __init__(self, kind: str, written: int, known: int):
        super().__init__(
            f"{kind} of format {written} was written by a newer version of this project, and {self.reader} reads up to format "
            f"{known}: upgrade {self.reader}"
        )


class BadData(PermanentError):
    """The data, not the machinery, is at fault: a retry cannot help."""


class OutOfMemory(TransientError):
    """A process of a job exceeded its memory: the next try may request more."""


class OutOfTime(PermanentError):
    """A job exceeded its time limit: another try would take as long."""
