"""What a run is frozen into, and what is requested of its jobs."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from contract.base_model import Strict, Versioned
from contract.paths import JobFiles
from contract.platform import Platform
from contract.spec import ModelSpec


class Champion(Strict):
    """The version that was live, by the ledger, when the run was frozen.

    `anchor` is the last version promoted because it was better, or else the first one: small losses since then must not add up.
    """

    version: int
    digest: str
    as_of: datetime
    anchor: int | None = None


class RunDocument(Versioned):
    """One run, frozen by its first task. Every later step reads only this."""

    model: str
    run_id: str
    folder: str = Field(description="this run's folder in the store")
    clear_number: int
    started: datetime | None = Field(None, description="when Airflow started it; distinguishes runs of one id")
    as_of: datetime
    backfill: bool
    release: bool = Field(True, description="False: the run ends at decide")
    spec: ModelSpec
    spec_hash: str
    sql: str | None
    suites: dict[str, dict[str, Any]] = Field(description="source: its Great Expectations suite")
    platform: Platform
    champion: Champion | None
    evaluations_per_year: float | None = Field(None, description="evaluations a year by the schedule")
    code_hash: str
    url: str = Field("", description="the run in the Airflow UI")

    @property
    def level(self) -> float:
        """Significance level of the gate's test: the probability of a false promotion."""
        return self.spec.gate.level(self.evaluations_per_year)


JobName = Literal["validate", "train", "compare"]
JOBS: dict[str, tuple[str, ...]] = {  # in order; each with those whose documents it reads
    "validate": (),
    "train": ("validate",),
    "compare": ("validate", "train"),
}


class JobRequest(Versioned):
    """Input of one Spark job of `run.py --job FILE CLAIM …`, which writes `<job>-<key>.json` into the run's folder."""

    job: JobName
    key: str
    run: RunDocument
    inputs: dict[str, str] = Field({}, description="step: the path of its document in the store")

    @property
    def files(self) -> JobFiles:
        return JobFiles(self.run.folder, self.job, self.key)


class Claim(Versioned):
    """Which application does a job: its id on YARN, elsewhere `host:process`."""

    holder: str

    @property
    def host(self) -> str:
        return self.holder.partition(":")[0]


class JobStart(Versioned):
    """That the job's application has begun with this job: its age and time limit count from here."""

    time: datetime


class StoredSpec(Versioned):
    """The spec that a version was trained with, stored with it: a champion's is read by the rules of its own format."""

    spec: ModelSpec
