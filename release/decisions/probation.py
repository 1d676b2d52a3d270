"""A released version is judged until its probation ends, and rolled back automatically. Pure.

A version that was rolled back is quarantined; after ROLLBACKS_A_WEEK rollbacks the model is frozen.
"""

from datetime import datetime, timedelta
from typing import Any

from contract.documents import Image
from contract.serving import ROLLBACKS_A_WEEK
from release.decisions.canary_analysis import judge, since
from release.decisions.observation import Observation, known_traffic
from release.decisions.transitions import CONTROLLER, activate, by_controller
from release.ledger.entries import Draft, Probation, Promoting, Quarantined, State, Traffic, version_name
from release.ledger.requests import ReleaseRequest, RollbackRequest

WEEK = timedelta(days=7)


def begin(state: State, active: Promoting, traffic: dict[str, Traffic], now: datetime) -> Probation | None:
    """None for a first release, which has no previous version to go back to, and where the spec wants none."""
    request, window = active.request, active.analysis
    if state.live is None or window is None or not isinstance(request, ReleaseRequest) or not request.serving.probation:
        return None
    old = traffic.get(state.live.digest, Traffic())
    return Probation(
        release=request.id,
        since=now,
        until=now + request.serving.probation,
        serving=request.serving,
        traffic=window.traffic[active.image.digest],
        old_version=since(old, window.traffic.get(state.live.digest, Traffic())) or Traffic(),
    )


def step(state: State, seen: Observation, now: datetime) -> Draft | None:
    """Rolls back at BREACH_ALPHA, over the whole probation or the last hold; ends only while the traffic is known."""
    live, previous, probation, traffic = state.live, state.previous, state.probation, known_traffic(state, seen)
    if live is None or previous is None or probation is None or traffic is None:
        return None
    bad = "" if state.pinned else _evidence(probation, traffic.get(live.digest, Traffic()), seen.recent)
    if bad:
        return _roll_back(state, previous, probation, bad, now)
    if now >= probation.until:
        what = f"the probation of {version_name(live)} is over: {version_name(previous)} stops"
        return by_controller(what, "within the limits", state.model_copy(update={"probation": None}))
    return None


def changes_of_rollback(state: State, image: Image, why: str, now: datetime) -> dict[str, Any]:
    """Changes of the state by a rollback, except of what is live."""
    recent = (*(when for when in state.rollbacks if now - when < WEEK), now)
    others = tuple(entry for entry in state.quarantined if entry.image.digest != image.digest)
    changes: dict[str, Any] = {
        "rollbacks": recent,
        "quarantined": (*others, Quarantined(image=image, why=why)),
        "probation": None,
    }
    if len(recent) >= ROLLBACKS_A_WEEK and not state.frozen:
        changes["frozen"] = f"{len(recent)} rollbacks within 7 days, the last: {why}"
    return changes


def notification_of(model: str, changes: dict[str, Any], sentence: str = "") -> str:
    """For the model's owners, where no task of a run reports the rollback."""
    frozen = changes.get("frozen")
    sentences = [sentence, f"releases of {model} are frozen: {frozen}; find the cause, then unfreeze it" if frozen else ""]
    return ". ".join(filter(None, sentences))


def outgrown(state: State, image: Image) -> tuple[Quarantined, ...]:
    """The quarantine without versions on older data than the new live one, which can never be released again."""
    return tuple(entry for entry in state.quarantined if entry.image.as_of > image.as_of)


def _evidence(probation: Probation, now: Traffic, recent: Traffic | None) -> str:
    spans = {"since its release": since(now, probation.traffic), "lately": recent}
    for when, traffic in spans.items():
        judgement = judge(traffic, probation.old_version, probation.serving, step_over=False) if traffic else None
        if judgement and judgement.good is False:
            return f"{judgement.reason}, {when}"
    return ""


def _roll_back(state: State, previous: Image, probation: Probation, why: str, now: datetime) -> Draft:
    """As a rollback that a person requests; it may take effect before it is recorded."""
    id = f"probation-{probation.release}-{now:%Y%m%dT%H%M%S}"
    request = RollbackRequest(id=id, model=previous.model, who=CONTROLLER, why=why)
    waiting = (state.active.request,) if state.active else ()  # a check
    state = state.model_copy(update={"active": None, "queue": (*state.queue, *waiting)})
    return activate(state, request, previous, now)
