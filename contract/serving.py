"""`serving` of a spec: canary steps, probation, and a version's limits under traffic."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from contract.base_model import Duration, LongerThanZero, Strict, without_problems
from contract.gate import Column

REPLAY_ENV = ("REPLAY_REQUESTS", "REPLAY_MASK")  # environment variables of a server
ROLLBACKS_A_WEEK = 3  # at so many, a model's releases are frozen until a person has investigated


class ReplaySettings(Strict):
    """The live server keeps its last requests, and a new version answers them before it takes traffic."""

    requests: int = Field(200, ge=1, le=10_000, description="how many are kept, by each server, in memory only")
    mask: tuple[Column, ...] = Field((), description="columns whose values are not kept: they are replayed as missing")


class Serving(Strict):
    """`probation` is filled in where the spec is read: an hour, or half of the schedule's shortest interval if that is less."""

    canary: tuple[Annotated[int, Field(ge=1, le=100)], ...] = (5, 25, 100)
    hold: LongerThanZero = timedelta(seconds=60)
    max_hold: LongerThanZero | None = Field(None, description="longest wait for min_requests in a step; default 10 × hold")
    min_requests: int = Field(300, ge=1)
    max_error_rate: float = Field(0.01, gt=0, lt=1)
    max_p95: LongerThanZero = timedelta(milliseconds=50)
    max_memory_mb: int = Field(512, ge=64)
    max_drift: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="share of predictions that may be outside the old version's distribution; absent: only reported",
    )
    probation: Duration | None = Field(
        None, description="how long a version is judged after its release, and rolled back automatically; 0s: not at all"
    )
    replay: ReplaySettings | None = Field(None, description="absent: no request is kept")

    @model_validator(mode="after")
    def _steps(self) -> Self:
        problems = []
        if not self.canary or list(self.canary) != sorted(set(self.canary)) or self.canary[-1] != 100:
            problems.append("canary: steps must rise and end at 100, such as [5, 25, 100]")
        if self.longest_hold < self.hold:
            problems.append("max_hold: is shorter than hold")
        return without_problems(self, problems)

    @property
    def longest_hold(self) -> timedelta:
        return self.max_hold or 10 * self.hold


def replay_env(serving: Serving) -> dict[str, str]:
    """The part of a server's environment that makes it keep its last requests; empty where none are to be kept."""
    if serving.replay is None:
        return {}
    return dict(zip(REPLAY_ENV, (str(serving.replay.requests), ",".join(serving.replay.mask)), strict=True))
