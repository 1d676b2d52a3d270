"""Builds the controller's entries and outcomes. Pure."""

from datetime import datetime
from typing import Any, Literal

from contract.documents import Check, Image, Release
from release.ledger.entries import OUTCOMES_KEPT, Active, Draft, Outcome, RollingBack, Starting, State, version_name
from release.ledger.requests import CheckRequest, ReleaseRequest, RollbackRequest

CONTROLLER = "controller"


def activate(state: State, request: CheckRequest | ReleaseRequest | RollbackRequest, image: Image, now: datetime) -> Draft:
    """Moves a request from the queue into work."""
    queue = tuple(waiting for waiting in state.queue if waiting.id != request.id)
    phase = Starting(request=request, image=image, since=now)
    return enter(state.model_copy(update={"queue": queue}), phase, f"{request.kind}: starting {version_name(image)}")


def enter(state: State, phase: Active, what: str, why: str = "") -> Draft:
    """The active request in its next phase; `why` is the request's own unless another is given."""
    backward = isinstance(phase, RollingBack) or isinstance(phase.request, RollbackRequest)
    return by_controller(what, why or phase.request.why, state.model_copy(update={"active": phase}), backward=backward)


def end(state: State, *outcomes: Outcome, backward: bool = False, **changes: Any) -> Draft:
    """Ends the requests of these outcomes, waiting or active."""
    ended = {outcome.request for outcome in outcomes}
    queue = tuple(request for request in state.queue if request.id not in ended)
    kept = (*state.outcomes, *outcomes)[-OUTCOMES_KEPT:]
    after = state.model_copy(update={"queue": queue, "outcomes": kept, **changes})
    first = outcomes[0]
    result = first.release.outcome.replace("_", " ") if first.release else ("done" if first.done else "failed")
    return by_controller(f"{first.kind}: {result}", first.reason, after, backward=backward, outcomes=outcomes)


def end_check(state: State, active: Active, check: Check) -> Draft:
    """An image that passed stays warm for its release; one that failed is stopped."""
    outcome = Outcome(request=active.request.id, kind="check", done=check.passed, reason=check.reason, check=check)
    others = state.checked if state.checked and state.checked.digest != check.digest else None
    return end(state, outcome, active=None, checked=active.image if check.passed else others)


def fail(state: State, active: Active, reason: str) -> Draft:
    """Ends a request whose image had no traffic yet."""
    if isinstance(active.request, CheckRequest):
        return end_check(state, active, Check(digest=active.image.digest, passed=False, reason=reason))
    if isinstance(active.request, ReleaseRequest):
        return end(state, release_outcome(state, active, "rolled_back", reason), active=None, checked=None)
    draft = end(state, release_outcome(state, active, "refused", reason), active=None, checked=None, backward=True)
    return draft.model_copy(
        update={"notification": f"{version_name(state.live)} of {active.request.model} could not be rolled back: {reason}"}
    )


def release_outcome(
    state: State, active: Active, outcome: Literal["released", "rolled_back", "refused"], reason: str, *, done: bool = False
) -> Outcome:
    previous = state.live.digest if state.live else None
    release = Release(digest=active.image.digest, previous=previous, outcome=outcome, reason=reason, steps=active.steps)
    return Outcome(request=active.request.id, kind=active.request.kind, done=done, reason=reason, release=release)


def live_already(state: State, request: ReleaseRequest) -> Outcome:
    """Outcome of a repeated release, such as after clearing a task of a run that ended well."""
    previous = state.previous.digest if state.previous else None
    reason = f"{version_name(request.image)} is live already"
    release = Release(digest=request.image.digest, previous=previous, outcome="released", reason=reason)
    return Outcome(request=request.id, kind="release", done=True, reason=reason, release=release)


def by_controller(what: str, why: str, state: State, *, backward: bool = False, outcomes: tuple[Outcome, ...] = ()) -> Draft:
    return Draft(who=CONTROLLER, why=why, what=what, state=state, outcomes=outcomes, backward=backward)
