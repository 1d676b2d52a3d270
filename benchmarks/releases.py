"""Releases and rollbacks under load: requests lost, latency against that at rest, and how soon a rollback is in force.

`python -m benchmarks.releases`: on processes in four minutes; then in three on containers, where an engine is there or can be.
"""

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

from benchmarks import engine
from benchmarks.clients import Answer, asking
from benchmarks.figures import keep, percentile, spread
from benchmarks.host import BODY, Host, serving_host
from contract.documents import Image
from contract.serving import Serving

PER_SECOND = 320
CYCLES = {"processes": 10, "containers": 6}  # each a check, a release, a rollback; every other one to what no longer runs
SERVERS = 2
WARM_S, REST_S = 5.0, 10.0
SLOW_TURNS_AFTER_S = 5.5  # after an entry the controller polls faster for some seconds; the rollback is requested after these
STEPS = {"canary": (25, 100), "hold": "2s", "min_requests": 60, "max_error_rate": 0.05, "max_p95": "1s"}
KEPT_WARM = Serving(**STEPS, probation="10m")
NOT_KEPT = Serving(**STEPS, probation="0s")


class Span(NamedTuple):
    """What was done from `start` to `end`, in time.monotonic()."""

    what: str
    start: float
    end: float


class RolledBack(NamedTuple):
    """Seconds from the request until the router's weights, and until the last request that the left version answered."""

    warm: bool
    in_force: float
    last_answer: float


class Course:
    """What is done to a host under load, and when."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.spans: list[Span] = []
        self.rollback_times: list[tuple[bool, float, float, Image]] = []  # warm; requested; in force; the version that is left

    def begin(self, first: Image) -> None:
        self._host.outcome(self._host.request("check", first, NOT_KEPT))
        self._host.outcome(self._host.request("release", first, NOT_KEPT))

    def cycle(self, old: Image, new: Image, warm: bool) -> None:
        host, serving = self._host, KEPT_WARM if warm else NOT_KEPT
        host.outcome(host.request("unfreeze"))  # three rollbacks within a week freeze a model
        with self.span("check"):
            host.outcome(host.request("check", new, serving))
        with self.span("release"):
            host.outcome(host.request("release", new, serving))
            ended = time.monotonic()
            engine.until(lambda: host.runs_only(*([old, new] if warm else [new])), "only what should run does")
        self.rest(ended + SLOW_TURNS_AFTER_S + random.random() - time.monotonic())
        with self.span("rollback"):
            self._roll_back(old, new, warm)
            engine.until(lambda: host.runs_only(old), "the version that was left has stopped")

    def rest(self, seconds: float) -> None:
        with self.span("rest"):
            time.sleep(max(0.0, seconds))

    @contextmanager
    def span(self, what: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.spans.append(Span(what, start, time.monotonic()))

    def _roll_back(self, old: Image, new: Image, warm: bool) -> None:
        requested = time.monotonic()
        request = self._host.request("rollback")
        engine.until(lambda: self._host.weights() == {old.digest: 100}, "the router has gone back", every_s=0.05)
        self.rollback_times.append((warm, requested, time.monotonic(), new))
        self._host.outcome(request)


def measure(cycles: int, images: dict[str, str] | None = None) -> dict[str, Any]:
    with serving_host(SERVERS, images) as host:
        course, first = Course(host), host.image(1)
        course.begin(first)
        with asking(host.url, BODY, PER_SECOND) as answers:
            time.sleep(WARM_S)
            course.rest(REST_S)
            for number in range(cycles):
                course.cycle(first, host.image(number + 2), warm=number % 2 == 0)
        return report(course, answers)


def report(course: Course, answers: list[Answer]) -> dict[str, Any]:
    failed, sent = [answer for answer in answers if answer.problem], [answer.sent for answer in answers]
    rollbacks = [
        RolledBack(warm, in_force - requested, last_answered(answers, new, requested) - requested)
        for warm, requested, in_force, new in course.rollback_times
    ]
    return {
        "requests": len(answers),
        "per_second": len(answers) / (max(sent) - min(sent)),
        "failed": len(failed),
        "problems": Counter(f"{done_at(course.spans, failure.sent)}: {failure.problem}" for failure in failed).most_common(5),
        "p99_ms": latencies(course.spans, answers),
        "rollbacks": [rollback._asdict() for rollback in rollbacks],
    }


def done_at(spans: list[Span], moment: float) -> str:
    return next((span.what for span in spans if span.start <= moment < span.end), "between")


def latencies(spans: list[Span], answers: list[Answer]) -> dict[str, dict[str, Any]]:
    """By activity: the 99th percentile over all its requests, its ratio to that at rest, and the percentile of each span."""
    during: dict[str, list[list[float]]] = {}
    for span in spans:
        taken = [1000 * answer.seconds for answer in answers if span.start <= answer.sent < span.end]
        during.setdefault(span.what, []).append(taken)
    whole = {what: percentile(list(chain(*times)), 0.99) for what, times in during.items()}
    return {
        what: {
            "all": whole[what],
            "to_rest": whole[what] / whole["rest"],
            "each": [percentile(taken, 0.99) for taken in times if len(taken) >= PER_SECOND],
        }
        for what, times in during.items()
    }


def last_answered(answers: list[Answer], image: Image, since: float) -> float:
    """When the last request was sent that this version answered."""
    return max((answer.sent for answer in answers if answer.version == str(image.version)), default=since)


def tell(title: str, results: dict[str, Any]) -> None:
    print(
        f"{title}: {CYCLES[title]} releases and rollbacks, {results['per_second']:.0f} requests/s, half on new connections\n"
        f"  {results['requests']:,} requests, {results['failed']} failed; target 0 {results['problems'] or ''}"
    )
    for what, p99 in results["p99_ms"].items():
        ratio = f"; {p99['to_rest']:.2f} times rest" if what != "rest" else ""
        print(f"  p99 during {what:<8} {p99['all']:6.1f} ms, {spread(p99['each'], 1)}{ratio}")
    for warm, limit in ((True, 2), (False, 10)):
        those = [rollback for rollback in results["rollbacks"] if rollback["warm"] is warm]
        state = "warm" if warm else "cold"
        print(f"  rollback, {state}: in force after {spread([rollback['in_force'] for rollback in those])} s; target ≤ {limit}")
        print(f"    last request that the left version answered: {spread([rollback['last_answer'] for rollback in those])} s")


def main() -> None:
    results = {"processes": measure(CYCLES["processes"])}
    tell("processes", results["processes"])
    keep("releases", results)
    lacking = engine.lacking()
    if lacking:
        print(f"containers are not measured: {lacking}")
        return
    with engine.engine() as client, engine.registry() as registry:
        images = {"repository": f"{registry}/models", "rootfs": engine.make_serving_base(registry)}
        results["containers"] = measure(CYCLES["containers"], images)
        engine.forget(client, registry)
    tell("containers", results["containers"])
    keep("releases", results)


if __name__ == "__main__":
    main()
