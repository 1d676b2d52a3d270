"""The phases in which a version meets traffic: shifting → analyzing (→ probing) → … → promoting, or rolling_back. Pure.

Each takes the state, its active request, the observation and the time, and returns the next entry, or None to wait.
"""

from datetime import datetime, timedelta

from contract.documents import StepReport
from contract.serving import Serving
from release.decisions import prediction_drift, probation
from release.decisions.canary_analysis import Judgement, judge, report, since
from release.decisions.observation import Observation, is_unknown
from release.decisions.prediction_drift import Drift
from release.decisions.transitions import CONTROLLER, end, move, release_outcome
from release.ledger.entries import Active, AnalysisWindow, Draft, Outcome, PredictionHistogram, State, Traffic, version_name

SHIFT_WITHIN = timedelta(seconds=60)
PROBE_WITHIN = timedelta(minutes=5)
PROMOTE_WITHIN = timedelta(seconds=30)
MAX_SILENCE = timedelta(seconds=30)
RESTARTS_ALLOWED = 3


def start_shifting(state: State, active: Active, now: datetime) -> Draft:
    return _shift(state, active, _percents(state, active)[0], now)


def shifting(state: State, active: Active, seen: Observation, now: datetime) -> Draft | None:
    arrived = seen.weights == state.weights
    if active.request.kind == "rollback":
        return move(state, active, now, "the router has gone back", phase="promoting") if arrived else None
    if arrived and seen.traffic is not None and seen.predictions is not None:
        analysis = _begin_analysis(state, active, seen, now)
        return move(
            state, active, now, f"{active.percent} % confirmed by the router, judging", phase="analyzing", analysis=analysis
        )
    if now - active.since > SHIFT_WITHIN:
        late = f"the router did not confirm {active.percent} % within {SHIFT_WITHIN.seconds} s"
        return start_rolling_back(state, active, late + seen.troubles, now)
    return None


def analyzing(state: State, active: Active, seen: Observation, now: datetime) -> Draft | None:
    if is_unknown(state, seen):
        return _unknown(state, active, seen, now)
    new, old = _traffic_in_window(state, active, seen.traffic)
    if new is None or old is None or now < active.analysis.since:  # the last: the controller restarted after the clock was set back
        return _restart_analysis(state, active, seen, now)

    limits = _limits(active)
    held = now - active.analysis.since
    moved = _drift(state, active, seen)
    done = report(new, active.percent, held.total_seconds(), moved)
    judgement = judge(new, old, limits, step_over=held >= limits.hold, drift=moved)
    if judgement.good and limits.max_drift and state.live and moved is None:
        judgement = Judgement(None, "the distribution of its predictions is not known")
    if judgement.good is False:
        return start_rolling_back(state, active, judgement.reason, now, done)
    if active.phase == "probing":
        return _after_answer(state, active, seen, done, now)
    if judgement.good:
        return _advance(state, active, done, now)
    if held >= (limits.longest_hold if state.live else limits.hold):  # a first release is judged for one hold
        return move(state, active, now, f"{judgement.reason}: probing with the golden rows instead", phase="probing")
    return None


def probing(state: State, active: Active, seen: Observation, now: datetime) -> Draft | None:
    """Its traffic is analyzed meanwhile."""
    if now - active.since > PROBE_WITHIN:
        overdue = f"the golden rows were not answered within {PROBE_WITHIN.seconds} s{seen.troubles}"
        return start_rolling_back(state, active, overdue, now)
    return analyzing(state, active, seen, now)


def promoting(state: State, active: Active, seen: Observation, now: datetime) -> Draft | None:
    """No decision depends on the alias: a registry that is down does not undo a good release."""
    if not seen.named and now - active.since <= PROMOTE_WITHIN:
        return None
    note = "" if seen.named else f"; the alias could not be moved yet and will follow{seen.troubles}"
    if active.request.kind == "rollback":
        return _gone_back(state, active, note, now)
    thin = sum(step.thin_traffic for step in active.steps)
    reason = f"{len(active.steps)} step(s) within the limits" + (f", {thin} with thin traffic" if thin else "")
    reason += _drift_note(active) + note
    outcome = release_outcome(state, active, "released", reason, done=True)
    changes = {
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
    return move(state, active, now, what, reason, phase="rolling_back", steps=steps, reason=reason)


def rolling_back(state: State, active: Active, seen: Observation, now: datetime) -> Draft | None:
    """Also ends queued rollback requests to the same version."""
    if seen.weights != state.weights:
        return None
    answered = [
        Outcome(request=request.id, kind="rollback", done=True, reason=active.reason)
        for request in state.queue
        if request.kind == "rollback" and (request.image is None or request.image == state.live)
    ]
    outcome = release_outcome(state, active, "rolled_back", active.reason)
    changes = probation.changes_of_rollback(state, active.image, active.reason, now)
    draft = end(state, outcome, *answered, active=None, checked=None, backward=True, **changes)
    return draft.model_copy(update={"notification": probation.notification_of(active.request.model, changes)})


def _percents(state: State, active: Active) -> tuple[int, ...]:
    """Canary steps; 100 at once for a first release, which has no old version, and for a rollback."""
    return _limits(active).canary if state.live and active.request.kind == "release" else (100,)


def _limits(active: Active) -> Serving:
    return active.request.serving or Serving()


def _shift(state: State, active: Active, percent: int, now: datetime) -> Draft:
    return move(state, active, now, f"{percent} % to {version_name(active.image)}", phase="shifting", percent=percent)


def _advance(state: State, active: Active, done: StepReport, now: datetime) -> Draft:
    ahead = [percent for percent in _percents(state, active) if percent > active.percent]
    ended = active.model_copy(update={"steps": (*active.steps, done)})
    if ahead:
        return _shift(state, ended, ahead[0], now)
    return move(state, ended, now, f"{version_name(active.image)} takes all traffic: naming it champion", phase="promoting")


def _after_answer(state: State, active: Active, seen: Observation, done: StepReport, now: datetime) -> Draft | None:
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


def _begin_analysis(state: State, active: Active, seen: Observation, now: datetime) -> AnalysisWindow:
    """Counters of the old version stay those of the release's first step: at 100 % it has no traffic of its own."""
    first, counted = active.analysis, seen.predictions or {}
    traffic = {active.image.digest: seen.traffic.get(active.image.digest, Traffic())}
    predictions = {active.image.digest: counted.get(active.image.digest, PredictionHistogram())}
    if state.live:
        old = state.live.digest
        traffic[old] = (first.traffic if first else seen.traffic).get(old, Traffic())
        predictions[old] = (first.predictions if first else counted).get(old, PredictionHistogram())
    return AnalysisWindow(since=now, traffic=traffic, predictions=predictions)


def _restart_analysis(state: State, active: Active, seen: Observation, now: datetime) -> Draft:
    restarts = active.analysis.restarts + 1
    if restarts > RESTARTS_ALLOWED:
        return start_rolling_back(state, active, f"the router's counters were reset {restarts} times in one step", now)
    fresh = _begin_analysis(state, active.model_copy(update={"analysis": None}), seen, now)
    analysis = fresh.model_copy(update={"restarts": restarts})
    what = f"the router's counters were reset: judging {active.percent} % from the start"
    return move(state, active, now, what, phase="analyzing", analysis=analysis)


def _drift(state: State, active: Active, seen: Observation) -> Drift | None:
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


def _traffic_in_window(state: State, active: Active, traffic: dict[str, Traffic]) -> tuple[Traffic | None, Traffic | None]:
    """Requests of the new and the old version in this step; None where a counter was reset."""
    start = active.analysis.traffic
    new, *old = (since(traffic.get(image.digest, Traffic()), start[image.digest]) for image in (active.image, state.live) if image)
    return new, old[0] if old else Traffic()
