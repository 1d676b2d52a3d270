"""Where everything in the store lies, how the files of a run are named, and the parts of a digest: the one place that knows."""

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple, Self

_FILE = re.compile(r"([a-z_]+)-([0-9A-Za-z]+)(?:\.([a-z]+)(?:-(\d+))?)?\.(?:json|txt)")


class StoreLayout:
    """The store's top-level folders, each of one purpose."""

    RUNS, SNAPSHOTS, JOBS, EVENTS = "runs", "snapshots", "jobs", "events"
    LEDGER, EVALUATIONS, REFUSED_EVALUATIONS = "ledger", "evaluations", "evaluations-refused"
    NOTIFICATIONS, DIFFERENCES = "notifications", "differences"
    CODE, ENVIRONMENTS, JARS = "code", "environments", "jars"

    @classmethod
    def snapshot(cls, model: str, key: str) -> str:
        """The folder of the snapshot that the `validate` job with this key wrote."""
        return f"{cls.SNAPSHOTS}/{model}/{key}"

    @classmethod
    def ticket(cls, key: str) -> str:
        """The file that names the task (model, run, step) that the job with this key belongs to."""
        return f"{cls.JOBS}/{key}/ticket.json"


class JobFiles(NamedTuple):
    """The files of one job, or of one step's work without a job, in its run's folder."""

    folder: str
    step: str
    key: str

    @property
    def document(self) -> str:
        return f"{self.folder}/{self.name()}"

    def beside(self, kind: str) -> str:
        return f"{self.folder}/{self.name(kind)}"

    def name(self, kind: str = "") -> str:
        """As its folder lists it: of the document, or of a file beside it, such as `error`, `failed`, `request` and `claim-1`."""
        return f"{self.step}-{self.key}.{kind}.json" if kind else f"{self.step}-{self.key}.json"

    @property
    def progress_prefix(self) -> str:
        """What the names of the parts of the job's output begin with."""
        return f"{self.step}-{self.key}.progress-"

    def progress(self, number: int) -> str:
        """A part of the job's output; numbers start at 1."""
        return f"{self.folder}/{self.progress_prefix}{number:04}.txt"

    def progress_among(self, names: Iterable[str]) -> list[str]:
        """Paths of those of the folder's files that are parts of the job's output, in order."""
        return [f"{self.folder}/{name}" for name in sorted(names) if name.startswith(self.progress_prefix)]


class FileName(NamedTuple):
    """A file in a run's folder: `validate-0a1b.json` (kind: empty), `validate-0a1b.failed.json`, `validate-0a1b.claim-2.json`."""

    step: str
    key: str
    kind: str
    number: int | None

    @classmethod
    def parse(cls, name: str) -> "FileName | None":
        """None for a file that no step writes."""
        match = _FILE.fullmatch(name)
        return match and cls(match[1], match[2], match[3] or "", int(match[4]) if match[4] else None)


class RunFolder(NamedTuple):
    """`runs/<model>/<run>`; `path` is relative to the store."""

    path: str

    @classmethod
    def of(cls, model: str, run_id: str, started: str = "") -> Self:
        """Airflow's run ids contain colons and plus signs: the folder is readable, but safe in every store and URL.

        A run that was deleted and created again under its id has another start time, hence another folder.
        """
        safe = "".join(char if char.isalnum() or char in "-_." else "-" for char in run_id)
        return cls(f"{StoreLayout.RUNS}/{model}/{safe}-{hashlib.sha256((run_id + started).encode()).hexdigest()[:6]}")

    @property
    def of_model(self) -> str:
        """The folder of all runs of this model."""
        return self.path.rpartition("/")[0]

    def files(self, step: str, key: str) -> JobFiles:
        return JobFiles(self.path, step, key)


class Digest(str):
    """`sha256:<64 hex digits>`."""

    __slots__ = ()

    @property
    def hex(self) -> str:
        return self.removeprefix("sha256:")

    @property
    def short(self) -> str:
        """For names that people read."""
        return self.hex[:12]
