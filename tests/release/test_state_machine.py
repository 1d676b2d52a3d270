from datetime import UTC, datetime, timedelta

import pytest
from pydantic import TypeAdapter

from contract.documents import Check
from contract.serving import Serving
from release.decisions.observation import Observation, known_traffic
from release.decisions.state_machine import project, step
from release.ledger.entries import Active, AnalysisWindow, Probation, State, Traffic
from tests.release.fakes import BOUNDS, a_request, an_image, digest_of

NOW = datetime(2013, 6, 9, tzinfo=UTC)
ONE, TWO = digest_of(1), digest_of(2)
LIVE = State(live=an_image(1), previous=an_image(9), checked=an_image(2))
COUNTED = {ONE: Traffic(), TWO: Traffic()}
TRIAL = Probation(
    release="release-1", since=NOW, until=NOW + timedelta(hours=1), serving=Serving(), traffic=Traffic(), old_version=Traffic()
)


def releasing(phase: str, percent: int = 0, ago_s: float = 0, **changes: object) -> State:
    since = NOW - timedelta(seconds=ago_s)
    release = a_request("release", 2, expected_live=ONE, canary=[5, 25, 100])
    analysis = AnalysisWindow(since=since, traffic=COUNTED)
    fields = {"request": release, "image": an_image(2), "percent": percent, "since": since, "phase": phase}
    fields |= {"reason": "slow"} if phase == "rolling_back" else {} if phase == "starting" else {"analysis": analysis}
    active = TypeAdapter(Active).validate_python(fields)
    return LIVE.model_copy(update={"active": active, **changes})


def saw(weights: dict[str, int] | None, requests: int = 0, **other: object) -> Observation:
    right = Traffic(requests=requests, latency=tuple((bound, requests) for bound in BOUNDS))
    plain = {"ready": {ONE: 2, TWO: 2}, "traffic": COUNTED | {TWO: right}, "predictions": {}, "servers": 2}
    return Observation(weights=weights, **(plain | other))


@pytest.mark.parametrize(
    ("state", "servers", "weights", "champion"),
    [
        (State(), {}, {}, None),
        (State(checked=an_image(1)), {1: 1}, {}, None),
        (LIVE, {1: 2, 2: 1}, {ONE: 100}, 1),
        (releasing("starting"), {1: 2, 2: 2}, {ONE: 100}, 1),
        (releasing("shifting", 5), {1: 2, 2: 2}, {ONE: 95, TWO: 5}, 1),
        (releasing("analyzing", 100), {1: 2, 2: 2}, {TWO: 100}, 1),
        (releasing("promoting", 100), {1: 2, 2: 2}, {TWO: 100}, 2),
        (releasing("rolling_back", 25), {1: 2, 2: 2}, {ONE: 100}, 1),
        (LIVE.model_copy(update={"probation": TRIAL}), {1: 2, 2: 1, 9: 2}, {ONE: 100}, 1),
    ],
)
def test_what_should_be_true_while_an_entry_is_the_last(state, servers, weights, champion):
    projection = project(state, servers=2)
    assert {image.version: count for image, count in projection.servers.values()} == servers
    assert projection.weights == weights
    assert (projection.champion and projection.champion.version) == champion


@pytest.mark.parametrize(
    ("state", "seen", "phase"),
    [
        (releasing("starting"), saw({ONE: 100}, ready={TWO: 1}), None),
        (releasing("starting"), saw({ONE: 100}), ("shifting", 5)),
        (releasing("starting", ago_s=121), saw({ONE: 100}, ready={}), "rolled_back"),
        (releasing("starting"), saw({ONE: 100}, broken={TWO: "damaged"}), "rolled_back"),
        (releasing("shifting", 5), saw({ONE: 100}), None),
        (releasing("shifting", 5), saw(None), None),
        (releasing("shifting", 5), saw({ONE: 95, TWO: 5}, traffic=None), None),
        (releasing("shifting", 5), saw({ONE: 95, TWO: 5}, predictions=None), None),
        (releasing("shifting", 5), saw({ONE: 95, TWO: 5}), ("analyzing", 5)),
        (releasing("shifting", 5, ago_s=61), saw({ONE: 100}), ("rolling_back", 5)),
        (releasing("analyzing", 5, ago_s=1), saw({ONE: 95, TWO: 5}, 500), None),  # the hold is not over
        (releasing("analyzing", 5, ago_s=3), saw({ONE: 95, TWO: 5}, 298), None),  # too few to show 1 %
        (releasing("analyzing", 5, ago_s=3), saw({ONE: 95, TWO: 5}, 299), ("shifting", 25)),
        (releasing("analyzing", 25, ago_s=3), saw({ONE: 75, TWO: 25}, 299), ("shifting", 100)),
        (releasing("analyzing", 100, ago_s=3), saw({TWO: 100}, 299), ("promoting", 100)),
        (releasing("analyzing", 5, ago_s=30), saw({ONE: 95, TWO: 5}, 298), ("probing", 5)),
        (releasing("analyzing", 5, ago_s=30), saw({ONE: 100}, 50), None),  # the router lost its weights: unknown
        (releasing("analyzing", 5, ago_s=30), saw(None, silent_for=timedelta(seconds=29)), None),
        (releasing("analyzing", 5, ago_s=30), saw(None, silent_for=timedelta(seconds=30)), ("rolling_back", 5)),
        (releasing("probing", 5, ago_s=3), saw({ONE: 95, TWO: 5}, 9), None),
        (releasing("probing", 5, ago_s=301), saw({ONE: 95, TWO: 5}, 9), ("rolling_back", 5)),
        (
            releasing("probing", 5, ago_s=3),
            saw({ONE: 95, TWO: 5}, 9, answer=Check(digest=TWO, passed=True, reason="")),
            ("shifting", 25),
        ),
        (
            releasing("probing", 5, ago_s=3),
            saw({ONE: 95, TWO: 5}, 9, answer=Check(digest=TWO, passed=False, reason="slow")),
            ("rolling_back", 5),
        ),
        (releasing("promoting", 100), saw({TWO: 100}), None),
        (releasing("promoting", 100), saw({TWO: 100}, alias_confirmed=True), "released"),
        (releasing("promoting", 100, ago_s=31), saw({TWO: 100}), "released"),
        (releasing("rolling_back", 25), saw({ONE: 75, TWO: 25}), None),
        (releasing("rolling_back", 25), saw({ONE: 100}), "rolled_back"),
    ],
)
def test_a_release_goes_from_phase_to_phase(state, seen, phase):
    draft = step(state, seen, NOW)
    active = draft and draft.state.active
    came_to = (active.phase, active.percent) if active else draft and draft.outcomes[0].release.outcome
    assert came_to == phase


@pytest.mark.parametrize(
    ("traffic", "unknown"),
    [
        (None, True),
        ({}, False),
        ({TWO: Traffic(requests=9, errors=9)}, False),  # errors need no latency to be bad news
        ({TWO: Traffic(requests=9)}, True),
        ({"sha256:stopped": Traffic(requests=9)}, False),
    ],
)
def test_right_answers_without_latencies_tell_nothing(traffic, unknown):
    state = releasing("analyzing", 5)
    assert (known_traffic(state, saw({ONE: 95, TWO: 5}, traffic=traffic)) is None) is unknown


def test_going_back_may_be_done_before_it_is_recorded_and_nothing_else():
    assert step(releasing("analyzing", 5), saw(None, silent_for=timedelta(seconds=30)), NOW).backward
    assert step(releasing("rolling_back", 5), saw({ONE: 100}), NOW).backward
    assert step(LIVE.model_copy(update={"queue": (a_request("rollback"),)}), saw({ONE: 100}), NOW).backward
    assert not step(releasing("starting"), saw({ONE: 100}), NOW).backward
    assert not step(releasing("promoting", 100), saw({TWO: 100}, alias_confirmed=True), NOW).backward
