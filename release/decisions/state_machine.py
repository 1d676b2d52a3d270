"""The next entry for one model, and what the host should run meanwhile. Pure: no clock, no files, no network."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from contract.documents import Check, Image
from release.decisions import canary, probation
from release.decisions.observation import Observation
from release.decisions.transitions import activate, by_controller, end, end_check, enter, fail, live_already, release_outcome
from release.ledger.entries import (
    Active,
    Analyzing,
    Checking,
    Draft,
    Outcome,
    Probing,
    Promoting,
    Quarantined,
    RollingBack,
    Shifting,
    Starting,
    State,
    version_name,
)
from release.ledger.requests import (
    CheckRequest,
    CommandRequest,
    ImageRequest,
    ReleaseRequest,
    Request,
    RollbackRequest,
    SwitchRequest,
    UnknownRequest,
    UnquarantineRequest,
)

START_WITHIN = timedelta(seconds=120)
SHORTEST_WINDOW = timedelta(minutes=1)


class Projection(NamedTuple):
    """What servers, router and registries should be like while an entry is the last one."""

    servers: dict[str, tuple[Image, int]]  # digest: image and how many
    weights: dict[str, int]
    unproven: Image | None  # never had all traffic: its signature is verified before it starts
    judged: bool  # a canary has traffic: the servers' prediction histograms are read
    to_probe: Checking | Probing | None  # its image is to be probed with the golden rows
    champion: Image | None  # has the alias champion
    tags: dict[str, Image]  # tag in the images' repository: its image
    window: timedelta | None  # length of the sliding window of a probation


def project(state: State, servers: int) -> Projection:
    active = state.active
    champion = active.image if isinstance(active, Promoting) else state.live
    tags = {"production": champion, "previous": state.previous}
    return Projection(
        servers=_servers(state, servers),
        weights=state.weights,
        unproven=active.image if active and isinstance(active.request, ImageRequest) else None,
        judged=is_releasing(state) and not isinstance(active, Starting | RollingBack),
        to_probe=active if isinstance(active, Checking | Probing) else None,
        champion=champion,
        tags={tag: image for tag, image in tags.items() if image},
        window=max(state.probation.serving.hold, SHORTEST_WINDOW) if state.probation else None,
    )


def is_releasing(state: State) -> bool:
    return state.active is not None and isinstance(state.active.request, ReleaseRequest)


def _servers(state: State, servers: int) -> dict[str, tuple[Image, int]]:
    active = state.active
    needed: dict[str, tuple[Image, int]] = {}
    if state.checked:
        needed[state.checked.digest] = (state.checked, 1)
    if active:  # also while rolling back: no server stops before its weight was read back as gone
        needed[active.image.digest] = (active.image, 1 if isinstance(active.request, CheckRequest) else servers)
    for image in (state.previous if state.probation else None, state.live):
        if image:
            needed[image.digest] = (image, servers)
    return needed


def step(state: State, seen: Observation, now: datetime) -> Draft | None:
    """The next entry, or None while nothing changes."""
    unknown = next((request for request in state.queue if isinstance(request, UnknownRequest)), None)
    if unknown:
        return _refused(state, unknown, f"this controller does not know such a request ({unknown.kind}): upgrade the serving host")
    urgent = next((request for request in state.queue if isinstance(request, CommandRequest)), None)
    draft = _at_once(state, urgent, now) if urgent else None
    if draft is None and (state.active is None or isinstance(state.active.request, CheckRequest)):
        draft = probation.step(state, seen, now)
    if draft:
        return draft
    if state.active:
        return _go_on(state, state.active, seen, now)
    begun = (_begin(state, request, seen, now) for request in state.queue if isinstance(request, ImageRequest))
    return next(filter(None, begun), None)


def _at_once(state: State, request: CommandRequest, now: datetime) -> Draft | None:
    match request:
        case RollbackRequest():
            return _roll_back(state, request, now)
        case UnquarantineRequest():
            return _unquarantine(state, request)
        case SwitchRequest():
            return _switch(state, request)


def _switch(state: State, request: SwitchRequest) -> Draft:
    if request.kind == "pin" and state.live is None:
        return _refused(state, request, "nothing is live that could be pinned")
    kept = "frozen" if request.kind in ("freeze", "unfreeze") else "pinned"
    changes: dict[str, Any] = {kept: "" if request.kind.startswith("un") else f"{request.why} ({request.who})"}
    return end(state, Outcome(request=request.id, kind=request.kind, done=True, reason=request.why), **changes)


def _roll_back(state: State, request: RollbackRequest, now: datetime) -> Draft | None:
    """Rolls a release in work back, and queues a check again. None while a rollback is in work already."""
    active = state.active
    if active is None:
        return _roll_back_live(state, request, request.image or state.previous, now)
    if isinstance(active.request, CheckRequest):
        waiting = state.model_copy(update={"active": None, "queue": (*state.queue, active.request)})
        return by_controller(f"check of {version_name(active.image)} waits for a rollback", request.why, waiting, backward=True)
    if isinstance(active.request, ReleaseRequest) and not isinstance(active, RollingBack):
        return canary.start_rolling_back(state, active, f"{request.who} requested a rollback: {request.why}", now)
    return None


def _roll_back_live(state: State, request: RollbackRequest, target: Image | None, now: datetime) -> Draft:
    if state.pinned:
        return _refused(state, request, f"{version_name(state.live)} is pinned: {state.pinned}; unpin it first")
    if target is None:
        return _refused(state, request, "there is no previous version to go back to")
    if state.live and target.digest == state.live.digest:
        return _refused(state, request, f"{version_name(target)} is live already")
    return activate(state, request, target, now)


def _unquarantine(state: State, request: UnquarantineRequest) -> Draft:
    left = tuple(entry for entry in state.quarantined if entry.image.digest != request.image.digest)
    if len(left) == len(state.quarantined):
        return _refused(state, request, f"{version_name(request.image)} is not in quarantine")
    reason = f"{version_name(request.image)} may be checked and released again: {request.why}"
    return end(state, Outcome(request=request.id, kind=request.kind, done=True, reason=reason), quarantined=left)


def _refused(state: State, request: Request | UnknownRequest, reason: str) -> Draft:
    return end(state, Outcome(request=request.id, kind=request.kind, done=False, reason=reason))


def _begin(state: State, request: ImageRequest, seen: Observation, now: datetime) -> Draft | None:
    """None while a release waits for the end of a probation or of other models' releases."""
    never_active = Starting(request=request, image=request.image, since=now)
    if isinstance(request, ReleaseRequest) and state.live and state.live.digest == request.image.digest:
        return end(state, live_already(state, request), checked=None)
    quarantine = state.quarantine_of(request.image.digest)
    if quarantine:
        return _not_offered(state, never_active, quarantine)
    if isinstance(request, CheckRequest):
        return activate(state, request, request.image, now)
    refusal = _refusal(state, request)
    if refusal:
        return end(state, release_outcome(state, never_active, "refused", refusal))
    return activate(state, request, request.image, now) if seen.may_release and state.probation is None else None


def _not_offered(state: State, active: Active, quarantine: Quarantined) -> Draft:
    model, version = active.request.model, active.image.version
    advice = f"release a newer one, or: python -m release unquarantine {model} --version {version} --why REASON"
    reason = f"{version_name(active.image)} was rolled back and is in quarantine ({quarantine.why}); {advice}"
    if isinstance(active.request, CheckRequest):
        return end_check(state, active, Check(digest=active.image.digest, passed=False, reason=reason))
    return end(state, release_outcome(state, active, "refused", reason))


def _refusal(state: State, request: ReleaseRequest) -> str:
    """Why this release must not begin, with what to do; empty if it may."""
    image, live = request.image, state.live
    if state.frozen:
        return f"releases of {request.model} are frozen: {state.frozen}; unfreeze it and clear the release"
    if state.pinned:
        return f"{version_name(live)} is pinned: {state.pinned}; unpin {request.model} and clear the release"
    if request.expected_live != (live.digest if live else None):
        there = f"{version_name(live)} is" if live else "nothing is"
        return f"{there} live, not the version that this one was compared with; compare again by clearing freeze_run"
    if live and image.as_of <= live.as_of:
        ends = f"its data ends at {image.as_of:%Y-%m-%d %H:%M}"
        return f"{ends}, not later than that of the live {version_name(live)}; trigger a run with a later as_of"
    if state.checked is None or state.checked.digest != image.digest:
        return (
            f"{version_name(image)} is not the version that passed the last check, or a release has used that check up; clear check"
        )
    return ""


def _go_on(state: State, active: Active, seen: Observation, now: datetime) -> Draft | None:
    match active:
        case Starting():
            return _starting(state, active, seen, now)
        case Checking():
            return _checking(state, active, seen, now)
        case Shifting():
            return canary.shifting(state, active, seen, now)
        case Analyzing() | Probing():
            return canary.judging(state, active, seen, now)
        case Promoting():
            return canary.promoting(state, active, seen, now)
        case RollingBack():
            return canary.rolling_back(state, active, seen, now)


def _starting(state: State, active: Starting, seen: Observation, now: datetime) -> Draft | None:
    digest, request = active.image.digest, active.request
    if digest in seen.broken:
        return fail(state, active, seen.broken[digest])
    if seen.ready.get(digest, 0) >= (seen.servers if isinstance(request, ReleaseRequest) else 1):
        if isinstance(request, CheckRequest):
            return enter(state, Checking.after(active, now), f"probing {version_name(active.image)} with the golden rows")
        return canary.start_shifting(state, active, now)
    if now - active.since > START_WITHIN:
        late = f"{version_name(active.image)} was not ready within {START_WITHIN.seconds} s{seen.troubles}; read its log"
        return fail(state, active, late)
    return None


def _checking(state: State, active: Checking, seen: Observation, now: datetime) -> Draft | None:
    if seen.answer:
        return end_check(state, active, seen.answer)
    overdue = f"the golden rows were not answered within {canary.PROBE_WITHIN.seconds} s{seen.troubles}"
    return fail(state, active, overdue) if now - active.since > canary.PROBE_WITHIN else None
