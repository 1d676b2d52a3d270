"""The errors that cross rooms. Each message is one sentence for a tired person: what, where, how many, what next."""


class RetrainingError(Exception):
    """Base of every error this project raises on purpose; its message may be shown to people as it is."""


class InvalidFile(RetrainingError):
    """A spec or platform file with all of its problems."""

    def __init__(self, path: str, problems: list[str]):
        self.path = path
        self.problems = problems
        count = f"{len(problems)} problem" + ("s" if len(problems) != 1 else "")
        super().__init__(f"{path}: {count}: " + "; ".join(problems))


class StoreError(RetrainingError):
    """The store could not be read or written; nothing was committed."""


class BadData(RetrainingError):
    """The data, not the machinery, is at fault: a retry cannot help."""


class OutOfMemory(RetrainingError):
    """A process of a job wanted more memory than it may have: the next try may ask for more."""


class OutOfTime(RetrainingError):
    """A job took longer than it may: another try would take as long."""
