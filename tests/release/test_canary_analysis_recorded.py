"""The judge on what Traefik has really counted, once a second: tests/release/record_series.py recorded it."""

import json
from pathlib import Path

import pytest

from contract.serving import Serving
from release.decisions.canary_analysis import judge, since
from release.ledger.entries import Traffic

LIMITS = Serving(max_error_rate=0.01, max_p95="50ms", min_requests=100)
HOLD = 7  # looks


def verdicts(name: str) -> list[bool | str | None]:
    """One a look; counters that fell give a new baseline."""
    samples = json.loads((Path(__file__).parent / "recorded" / f"{name}.json").read_text())
    series = [[Traffic.model_validate(counted) if counted else Traffic() for counted in sample] for sample in samples]
    traffic, judgements, begun = series[0], [], 0
    for number, sample in enumerate(series[1:], start=1):
        new, old = (since(now, before) for now, before in zip(sample, traffic, strict=True))
        if new is None or old is None:
            traffic, begun = sample, number
            judgements.append("anew")
        else:
            judgements.append(judge(new, old, LIMITS, step_over=number - begun >= HOLD).good)
    return judgements


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("good", [None] * 6 + [True] * 3),
        ("failing", [False] * 9),
        ("refusing", [False] * 9),
        ("slow", [False] * 9),
        ("killed", [None] * 9),  # both servers at once: 3 of 420 failed, which shows neither that 1 % is kept nor that it is not
        ("restarted", [None] * 3 + ["anew"] + [None] * 5),
    ],
)
def test_a_recorded_series_is_judged(name, expected):
    assert verdicts(name) == expected
