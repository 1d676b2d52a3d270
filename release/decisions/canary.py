"""The phases in which a version meets traffic: shifting → analyzing (→ probing) → … → promoting, or rolling_back. Pure.

Each takes the state, its active request, the observation and the time, and returns the next entry, or None to wait.
"""

from datetime import datetime, timedelta
from typing import Any

from contract.documents import StepReport
from release.decisions import prediction_drift, probation
from release.decisions.canary_analysis import Judgement, judge, report, since
from release.decisions.observation import Observation, known_traffic
from release.decisions.prediction_drift import Drift
from release.decisions.transitions import CONTROLLER, end, enter, release_outcome
from release.ledger.entries import (
    Active,
    AnalysisWindow,
    Analyzing,
    Draft,
    Outcome,
    PredictionHistogram,
    Probing,
    Promoting,
    RollingBack,
    Shifting,
    Starting,
    State,
    Traffic,
    version_name,
)
from release.ledger.requests import ReleaseRequest, RollbackRequest

SHIFT_WITHIN = timedelta(seconds=60)
PROBE_WITHIN = timedelta(minutes=5)
PROMOTE_WITHIN = timedelta(seconds=30)
MAX_SILENCE = timedelta(seconds=30)
RESTARTS_ALLOWED = 3


def start_shifting(state: State, active: Starting, now: datetime) -> Draft:
    return _shift(state, active, _percents(state, active)[0], now)


def shifting(state: State, active: Shifting, seen: Observation, now: datetime) -> Draft | None:
    arrived = seen.weights == state.weights
    if isinstance(active.request, RollbackRequest):
        return enter(state, Promoting.after(active, now), "the router has gone back") if arrived else None
    if arrived and seen.traffic is not None and seen.predictions is not None:
        window = _open_window(state, active, active.analysis, seen.traffic, seen.predictions, now)
        what = f"{active.percent} % confirmed by the router, judging"
        return enter(state, Analyzing.after(active, now, analysis=window), what)
    if now - active.since > SHIFT_WITHIN:
        late = f"the router did not confirm {active.percent} % within {SHIFT_WITHIN.seconds} s"
        return start_rolling_back(state, active, late + seen.troubles, now)
    return None


def judging(state: State, active: Analyzing | Probing, seen: Observation, now: datetime) -> Draft | None:
    """The traffic is analyzed also while the golden rows are probed."""
    if isinstance(active, Probing) and now - active.since > PROBE_WITHIN:
        overdue = f"the golden rows were not answered within {PROBE_WITHIN.seconds} s{seen.troubles}"
        return start_rolling_back(state, active, overdue, now)
    traffic = known_traffic(state, seen)
    if traffic is None:
        return _unknown(state, active, seen, now)
    new, old = _traffic_in_window(state, active, traffic)
    if new is None or old is None or now < active.analysis.since:  # the last: the controller restarted after the clock was set back
        return _restart_window(state, active, traffic, seen, now)
    moved = _drift(state, active, seen)
    done = report(new, active.percent, (now - active.analysis.since).total_seconds(), moved)
    judgement = _judgement(state, active, new, old, moved, now)
    if judgement.good is False:
        return start_rolling_back(state, active, judgement.reason, now, done)
    if isinstance(active, Probing):
        return _after_answer(state, active, seen, done, now)
    return _after_analysis(state, active, judgement, done, now)


def _judgement(
    state: State, active: Analyzing | Probing, new: Traffic, old: Traffic, moved: Drift | None, now: datetime
) -> Judgement:
    limits = active.request.serving
    judgement = judge(new, old, limits, step_over=now - active.analysis.since >= limits.hold, drift=moved)
    if judgement.good and limits.max_drift and state.live and moved is None:
        return Judgement(None, "the distribution of its predictions is not known")
    return judgement


def _after_analysis(state: State, active: Analyzing, judgement: Judgement, done: StepReport, now: datetime) -> Draft | None:
    """The next step where the limits are kept; the golden rows where the longest hold did not show it."""
    if judgement.good:
        return _advance(state, active, done, now)
    limits = active.request.serving
    if now - active.analysis.since < (limits.longest_hold if state.live else limits.hold):  # a first release is judged for one hold
        return None
    what = f"{judgement.reason}: probing with the golden rows instead"
    return enter(state, Probing.after(active, now, analysis=active.analysis), what)


def promoting(state: State, active: Promoting, seen: Observation, now: datetime) -> Draft | None:
    """No decision depends on the alias: a registry that is down does not undo a good release."""
    if not seen.alias_confirmed and now - active.since <= PROMOTE_WITHIN:
        return None
    note = "" if seen.alias_confirmed else f"; the alias could not be moved yet and will follow{seen.troubles}"
    if isinstance(active.request, RollbackRequest):
        return _gone_back(state, active, note, now)
    thin = sum(step.thin_traffic for step in active.steps)
    reason = f"{len(active.steps)} step(s) within the limits" + (f", {thin} with thin traffic" if thin else "")
    reason += _drift_note(active) + note
    outcome = release_outcome(state, active, "released", reason, done=True)
    changes: dict[str, Any] = {
        "live": active.image,
        "previous": state.live,
        "probation": probation.begin(state, active, seen.traffic or {}, now),
        "quarantined": probation.outgrown(state, active.image),
    }
    return end(state, outcome, active=None, checked=None, **changes)


def _drift_note(active: Active) -> str:
    last = active.steps[-1] if active.steps else None
    if last is None or last.drift is None:
        return ""
    return f"; prediction drift from the old version is {last.drift:.1%} (chance explains {last.drift_by_chance:.1%})"


def _gone_back(state: State, active: Active, note: str, now: datetime) -> Draft:
    """Quarantines the version that was rolled back, and notifies the model's owners whoever requested it."""
    request, left = active.request, state.live
    outcome = release_outcome(state, active, "rolled_back", request.why + note, done=True)
    changes = probation.changes_of_rollback(state, left, f"{request.why} ({request.who})", now) if left else {}
    draft = end(state, outcome, active=None, live=active.image, previous=None, backward=True, **changes)
    if left is None:
        return draft
    by = "in its probation" if request.who == CONTROLLER else f"by {request.who}"
    rolled_back = f"{version_name(left)} of {request.model} was rolled back {by}: {request.why}"
    back = f"{rolled_back}. All traffic is on {version_name(active.image)}"
    return draft.model_copy(update={"notification": probation.notification_of(request.model, changes, back)})


def start_rolling_back(state: State, active: Active, reason: str, now: datetime, last: StepReport | None = None) -> Draft:
    steps = (*active.steps, last) if last else active.steps
    what = f"everything back to {version_name(state.live)}" if state.live else "nothing serves: there is no version to go back to"
    return enter(state, RollingBack.after(active, now, steps=steps, reason=reason), what, reason)


def rolling_back(state: State, active: RollingBack, seen: Observation, now: datetime) -> Draft | None:
    """Also ends queued rollback requests to the same version."""
    if seen.weights != state.weights:
        return None
    answered = [
        Outcome(request=request.id, kind="rollback", done=True, reason=active.reason)
        for request in state.queue
        if isinstance(request, RollbackRequest) and (request.image is None or request.image == state.live)
    ]
    outcome = release_outcome(state, active, "rolled_back", active.reason)
    changes = probation.changes_of_rollback(state, active.image, active.reason, now)
    draft = end(state, outcome, *answered, active=None, checked=None, backward=True, **changes)
    return draft.model_copy(update={"notification": probation.notification_of(active.request.model, changes)})


def _percents(state: State, active: Active) -> tuple[int, ...]:
    """Canary steps; 100 at once for a first release, which has no old version, and for a rollback."""
    return active.request.serving.canary if state.live and isinstance(active.request, ReleaseRequest) else (100,)


def _shift(state: State, active: Starting | Analyzing | Probing, percent: int, now: datetime, **fields: Any) -> Draft:
    phase = Shifting.after(active, now, percent=percent, **fields)
    return enter(state, phase, f"{percent} % to {version_name(active.image)}")


def _advance(state: State, active: Analyzing | Probing, done: StepReport, now: datetime) -> Draft:
    ahead = [percent for percent in _percents(state, active) if percent > active.percent]
    passed: dict[str, Any] = {"steps": (*active.steps, done), "analysis": active.analysis}
    if ahead:
        return _shift(state, active, ahead[0], now, **passed)
    what = f"{version_name(active.image)} takes all traffic: promoting it"
    return enter(state, Promoting.after(active, now, **passed), what)


def _after_answer(state: State, active: Probing, seen: Observation, done: StepReport, now: datetime) -> Draft | None:
    thin = done.model_copy(update={"thin_traffic": True})
    if seen.answer is None:
        return None
    if not seen.answer.passed:
        reason = f"too little traffic to judge, and the golden rows failed: {seen.answer.reason}"
        return start_rolling_back(state, active, reason, now, thin)
    return _advance(state, active, thin, now)


def _unknown(state: State, active: Active, seen: Observation, now: datetime) -> Draft | None:
    if seen.silent_for < MAX_SILENCE:
        return None
    silent = f"the router reported nothing of this release for {MAX_SILENCE.seconds} s{seen.troubles}"
    return start_rolling_back(state, active, silent, now)


def _open_window(
    state: State,
    active: Active,
    first: AnalysisWindow | None,
    counted: dict[str, Traffic],
    predicted: dict[str, PredictionHistogram],
    now: datetime,
) -> AnalysisWindow:
    """Counters of the old version stay those of the release's first step: at 100 % it has no traffic of its own."""
    traffic = {active.image.digest: counted.get(active.image.digest, Traffic())}
    predictions = {active.image.digest: predicted.get(active.image.digest, PredictionHistogram())}
    if state.live:
        old = state.live.digest
        traffic[old] = (first.traffic if first else counted).get(old, Traffic())
        predictions[old] = (first.predictions if first else predicted).get(old, PredictionHistogram())
    return AnalysisWindow(since=now, traffic=traffic, predictions=predictions)


def _restart_window(
    state: State, active: Analyzing | Probing, traffic: dict[str, Traffic], seen: Observation, now: datetime
) -> Draft:
    restarts = active.analysis.restarts + 1
    if restarts > RESTARTS_ALLOWED:
        return start_rolling_back(state, active, f"the router's counters were reset {restarts} times in one step", now)
    fresh = _open_window(state, active, None, traffic, seen.predictions or {}, now)
    window = fresh.model_copy(update={"restarts": restarts})
    what = f"the router's counters were reset: judging {active.percent} % from the start"
    return enter(state, Analyzing.after(active, now, analysis=window), what)


def _drift(state: State, active: Analyzing | Probing, seen: Observation) -> Drift | None:
    """New version's predictions in this step against the old version's since the release began; None: not known."""
    if state.live is None or seen.predictions is None:
        return None
    new, old = (
        prediction_drift.since(
            seen.predictions.get(image.digest, PredictionHistogram()),
            active.analysis.predictions.get(image.digest, PredictionHistogram()),
        )
        for image in (active.image, state.live)
    )
    return prediction_drift.drift(new, old) if new and old else None


def _traffic_in_window(
    state: State, active: Analyzing | Probing, traffic: dict[str, Traffic]
) -> tuple[Traffic | None, Traffic | None]:
    """Requests of the new and the old version in this step; None where a counter was reset."""
    start = active.analysis.traffic
    new, *old = (since(traffic.get(image.digest, Traffic()), start[image.digest]) for image in (active.image, state.live) if image)
    return new, old[0] if old else Traffic()
