"""Judges a new version by the router's counters: good, bad, or undecided. Pure."""

import math
from datetime import timedelta
from typing import NamedTuple

from contract.documents import StepReport
from contract.serving import Serving
from release.decisions.prediction_drift import Drift
from release.ledger.entries import Traffic

MIN_EVENTS = 5  # errors or slow requests below which no limit counts as broken before a step's end
BREACH_ALPHA = 0.01  # one-sided, to show that a limit is broken
COMPLIANCE_ALPHA = 0.05  # one-sided, to show that a limit is kept: for 1 % none of 299 requests, for 5 % none of 59
SLOW_SHARE = 0.05  # the limit is a 95th percentile


class TrafficLimit(NamedTuple):
    """`events` of `of` requests failed or were slow; `rate` is the share that the limit allows; `sentence` is for people.

    `absolute`: that the limit is kept must be shown. A limit relative to the old version's rate must only not be broken.
    """

    events: int
    of: int
    rate: float
    sentence: str
    absolute: bool = True

    @property
    def is_shown_kept(self) -> bool:
        """Clopper and Pearson's upper 95 % bound does not pass the rate."""
        return not self.absolute or tail(self.of - self.events, self.of, 1 - self.rate) < COMPLIANCE_ALPHA  # of those that kept it


class Judgement(NamedTuple):
    """`good` is True, False, or None for undecided."""

    good: bool | None
    reason: str


def judge(new: Traffic, old: Traffic, limits: Serving, *, step_over: bool, drift: Drift | None = None) -> Judgement:
    """Before the end of a step, and for thin traffic, a limit is broken at BREACH_ALPHA; at the end by the observed rate.

    Good only where the limits were shown to be kept; a rate just within a limit needs more requests for that. `drift` is None
    where it is not known, or where there is no old version.
    """
    enough = new.requests >= limits.min_requests
    compared = limits_of(new, old, limits)
    for limit in compared:
        plainly = step_over and enough and limit.events > limit.rate * limit.of
        clearly = limit.events >= MIN_EVENTS and tail(limit.events, limit.of, limit.rate) < BREACH_ALPHA
        if plainly or clearly:
            return Judgement(False, limit.sentence)
    if drift and limits.max_drift and drift.share - drift.noise > limits.max_drift:
        return Judgement(False, _drift_sentence(drift, limits.max_drift))
    if not enough:
        return Judgement(None, f"{new.requests} of {limits.min_requests} requests so far")
    undecided = [limit.sentence for limit in compared if not limit.is_shown_kept]
    if undecided:
        return Judgement(None, f"{undecided[0]}, which {new.requests} requests do not show")
    return Judgement(True if step_over else None, f"{new.requests} requests within the limits")


def limits_of(new: Traffic, old: Traffic, limits: Serving) -> list[TrafficLimit]:
    """Error rate, latency and, where the old version had requests, the 4xx rate relative to it."""
    n = new.requests
    compared = [
        TrafficLimit(new.errors, n, limits.max_error_rate, _errors_sentence(new, limits)),
        TrafficLimit(*_slower(new, limits.max_p95), SLOW_SHARE, _latency_sentence(new, limits)),
    ]
    if old.requests:
        old_rate = old.client_errors / old.requests
        sentence = (
            f"{new.client_errors} of {n} requests were refused as the client's error (4xx), "
            f"against {old.client_errors} of {old.requests} by the old version"
        )
        compared.append(TrafficLimit(new.client_errors, n, min(1.0, old_rate + limits.max_error_rate), sentence, absolute=False))
    return compared


def tail(count: int, of: int, rate: float) -> float:
    """P(X ≥ count) for X ~ Binomial(of, rate): below 1 % exactly where Clopper and Pearson's lower 99 % bound passes `rate`."""
    if count <= of * rate:
        return 1.0  # not significant, and the sum below would be long
    if rate <= 0:
        return 0.0
    chosen = math.lgamma(of + 1) - math.lgamma(count + 1) - math.lgamma(of - count + 1)
    term = math.exp(chosen + count * math.log(rate) + (of - count) * math.log1p(-rate))
    total = 0.0
    for k in range(count, of + 1):
        total += term
        term *= (of - k) / (k + 1) * rate / (1 - rate)
        if term <= total * 1e-12:
            break
    return total


def since(now: Traffic, start: Traffic) -> Traffic | None:
    """Counted after `start`; None if the counters were reset in between."""
    before = dict(start.latency)
    latency = tuple((bound, count - before.get(bound, 0)) for bound, count in now.latency)
    counts = {name: getattr(now, name) - getattr(start, name) for name in ("requests", "errors", "client_errors")}
    if min(*counts.values(), *(count for _, count in latency)) < 0 or (before and not latency):
        return None
    return Traffic(**counts, latency=latency)


def p95_ms(traffic: Traffic) -> float | None:
    """Interpolated inside its bucket; None without requests, or if it lies above the last finite bound."""
    total = traffic.latency[-1][1] if traffic.latency else 0
    rank = (1 - SLOW_SHARE) * total
    lower, below = 0.0, 0
    for bound, count in traffic.latency if total else ():
        if count >= rank:
            return None if math.isinf(bound) else 1000 * (lower + (bound - lower) * (rank - below) / max(1, count - below))
        lower, below = bound, count
    return None


def report(new: Traffic, percent: int, seconds: float, drift: Drift | None = None) -> StepReport:
    return StepReport(
        percent=percent,
        seconds=seconds,
        requests=new.requests,
        errors=new.errors,
        p95_ms=p95_ms(new),
        drift=drift and drift.share,
        drift_by_chance=drift and drift.noise,
    )


def _slower(traffic: Traffic, limit: timedelta) -> tuple[int, int]:
    """How many requests took longer than the limit, of how many; spread evenly inside the limit's bucket."""
    if not traffic.latency:
        return 0, 0
    seconds, total = limit.total_seconds(), traffic.latency[-1][1]
    lower, below = 0.0, 0
    for bound, count in traffic.latency:
        if bound >= seconds:
            share = 0.0 if math.isinf(bound) else (seconds - lower) / (bound - lower)
            return int(total - below - share * (count - below)), total
        lower, below = bound, count
    return 0, total


def _errors_sentence(new: Traffic, limits: Serving) -> str:
    return f"{new.errors} of {new.requests} requests failed; {limits.max_error_rate:.2%} are allowed"


def _drift_sentence(drift: Drift, limit: float) -> str:
    return (
        f"prediction drift from the old version is {drift.share:.0%}, of which chance explains {drift.noise:.0%}; "
        f"{limit:.0%} is allowed (max_drift)"
    )


def _latency_sentence(new: Traffic, limits: Serving) -> str:
    slow, total = _slower(new, limits.max_p95)
    return f"{slow} of {total} requests took longer than {limits.max_p95.total_seconds() * 1000:g} ms; 5 % may"
