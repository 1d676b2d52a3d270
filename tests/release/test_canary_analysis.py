from datetime import timedelta

import pytest

from contract.serving import Serving
from release.decisions.canary_analysis import judge, p95_ms, since, tail
from release.ledger.entries import Traffic

LIMITS = Serving(max_error_rate=0.01, max_p95="50ms", min_requests=300)
INF = float("inf")


def traffic(requests: int, errors: int = 0, client_errors: int = 0, slow: int = 0) -> Traffic:
    """So many took 100 ms, the others 1 ms."""
    latency = ((0.01, requests - slow), (0.05, requests - slow), (0.2, requests), (INF, requests))
    return Traffic(requests=requests, errors=errors, client_errors=client_errors, latency=latency)


@pytest.mark.parametrize(
    ("count", "of", "rate", "expected"),
    [
        (1, 1, 0.01, 0.01),
        (2, 3, 0.5, 0.5),
        (2, 2, 0.5, 0.25),
        (5, 10, 0.1, 0.0016349374),
        (5, 100, 0.01, 0.0034323),
        (0, 10, 0.5, 1.0),
        (3, 100, 0.0, 0.0),
        (400_000, 1_000_000, 0.01, 0.0),
    ],
)
def test_the_tail_of_the_binomial(count, of, rate, expected):
    assert tail(count, of, rate) == pytest.approx(expected, rel=1e-4, abs=1e-12)


@pytest.mark.parametrize(
    ("new", "step_over", "good"),
    [
        (traffic(3, errors=1), False, None),  # one of three is no evidence
        (traffic(3, errors=1), True, None),
        (traffic(4, errors=4), False, None),
        (traffic(5, errors=5), False, False),
        (traffic(100, errors=4), False, None),
        (traffic(100, errors=5), False, False),
        (traffic(100, errors=5), True, False),  # thin traffic, but clear
        (traffic(300, errors=4), False, None),  # above the rate, not clearly
        (traffic(300, errors=4), True, False),
        (traffic(300, errors=3), True, None),  # just at the rate: that it is not beyond is not shown
        (traffic(472, errors=1), True, None),
        (traffic(473, errors=1), True, True),
        (traffic(299, errors=0), True, None),
        (traffic(300), False, None),  # good only when the step is over
        (traffic(300), True, True),
        (traffic(0), True, None),
        (traffic(300, slow=9), True, None),
        (traffic(300, slow=8), True, True),
        (traffic(300, slow=16), True, False),
        (traffic(60, slow=4), False, None),
        (traffic(60, slow=10), False, False),
    ],
)
def test_evidence_before_a_verdict(new, step_over, good):
    assert judge(new, Traffic(), LIMITS, step_over=step_over).good is good


@pytest.mark.parametrize(
    ("new", "old", "good"),
    [
        (traffic(300, client_errors=30), traffic(5000, client_errors=500), True),  # clients were wrong before, too
        (traffic(300, client_errors=30), traffic(5000, client_errors=50), False),
        (traffic(300, client_errors=30), traffic(0), True),  # nothing to compare with
        (traffic(300, client_errors=3), traffic(5000), True),  # within max_error_rate of the old one's rate
        (traffic(300, client_errors=300), traffic(10, client_errors=10), True),
    ],
)
def test_refused_requests_are_compared_with_the_old_version(new, old, good):
    assert judge(new, old, LIMITS, step_over=True).good is good


@pytest.mark.parametrize(
    ("new", "old", "sentence"),
    [
        (traffic(400, errors=9), Traffic(), "9 of 400 requests failed; 1.00% are allowed"),
        (traffic(400, slow=40), Traffic(), "40 of 400 requests took longer than 50 ms; 5 % may"),
        (
            traffic(400, client_errors=40),
            traffic(4000, client_errors=2),
            "40 of 400 requests were refused as the client's error (4xx), against 2 of 4000 by the old version",
        ),
        (traffic(400), Traffic(), "400 requests within the limits"),
    ],
)
def test_a_judgement_says_why(new, old, sentence):
    assert judge(new, old, LIMITS, step_over=True).reason == sentence


def test_the_limit_inside_a_bucket_is_interpolated():
    counted = Traffic(requests=400, latency=((0.04, 360), (0.08, 400), (INF, 400)))
    for limit_ms, good in ((55, False), (65, None), (75, True)):  # 25, 15 and 5 of 400 lie above
        limits = LIMITS.model_copy(update={"max_p95": timedelta(milliseconds=limit_ms)})
        assert judge(counted, Traffic(), limits, step_over=True).good is good


@pytest.mark.parametrize(
    ("latency", "expected"),
    [
        (((0.01, 100), (INF, 100)), 9.5),
        (((0.01, 90), (0.02, 100), (INF, 100)), 15.0),
        (((0.01, 90), (INF, 100)), None),
        (((0.01, 0), (INF, 0)), None),
        ((), None),
    ],
)
def test_p95_is_interpolated(latency, expected):
    assert p95_ms(Traffic(requests=100, latency=latency)) == (None if expected is None else pytest.approx(expected))


def test_what_came_after_the_baseline():
    assert since(traffic(10, errors=2, slow=4), traffic(4, errors=1, slow=1)) == traffic(6, errors=1, slow=3)
    assert since(traffic(10), Traffic()) == traffic(10)


@pytest.mark.parametrize("now", [Traffic(), traffic(9), traffic(20, errors=0, slow=20)])
def test_counters_that_fell_began_anew(now):
    assert since(now, traffic(10, errors=1)) is None


@pytest.mark.parametrize(("rate", "needed"), [(0.01, 299), (0.02, 149), (0.001, 2995)])
def test_so_many_clean_requests_show_a_limit(rate, needed):
    limits = LIMITS.model_copy(update={"max_error_rate": rate, "min_requests": 1})

    assert [judge(traffic(n), Traffic(), limits, step_over=True).good for n in (needed - 1, needed)] == [None, True]


def test_fifty_nine_quick_requests_show_a_95th_percentile():
    limits = LIMITS.model_copy(update={"max_error_rate": 0.5, "min_requests": 1})

    assert [judge(traffic(n), Traffic(), limits, step_over=True).good for n in (58, 59)] == [None, True]


def test_what_is_not_shown_is_told():
    judgement = judge(traffic(300, errors=3), Traffic(), LIMITS, step_over=True)

    assert judgement.reason == "3 of 300 requests failed; 1.00% are allowed, which 300 requests do not show"
