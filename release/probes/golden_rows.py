"""Sends the golden rows to a server, and decides from its answers whether it may get traffic."""

import math
import time
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any, NamedTuple, Protocol

import httpx
from pydantic import BaseModel, ValidationError

from contract.documents import Check, GoldenRows, ReplayResult
from contract.serving import Serving
from release.ledger.entries import PredictionHistogram
from release.probes.prediction_counts import PredictionCounts
from release.probes.replay import REHEARSAL, replay
from release.targets.base import Server

BATCH = 100
WARM_UP = 10
SINGLE_REQUESTS = 200
SINGLE_WITHIN_S = 20.0  # a slow server is judged by fewer requests
TIMEOUT_S = 10.0
READY_TIMEOUT_S = 1.0


class ProbeResult(NamedTuple):
    """`parity` is the largest relative difference from Spark's answers, `worst` names its row. With a `problem` both are unset.

    `tolerance` is what the golden rows allow, relative of numbers above 1, absolute below.
    """

    parity: float = math.inf
    worst: str = ""
    p95_ms: float = math.inf
    problem: str = ""
    tolerance: float = 1e-9


class Probe(Protocol):
    """Requests to servers directly, not through the router."""

    def is_ready(self, server: Server) -> bool: ...

    def measure(self, server: Server, golden: GoldenRows) -> ProbeResult: ...

    def replay(self, server: Server, live: Sequence[Server], columns: Sequence[str]) -> ReplayResult: ...

    def predictions(self, model: str, servers: Sequence[Server]) -> dict[str, PredictionHistogram]:
        """Prediction histograms by digest; counts only grow."""


class HttpProbe:
    def __init__(self) -> None:
        self.predictions = PredictionCounts().predictions
        self.replay = replay
        never_kept = httpx.Limits(max_keepalive_connections=0)  # a kept connection would not show whether new ones are accepted
        self._ready = httpx.Client(timeout=READY_TIMEOUT_S, limits=never_kept, trust_env=False)

    def is_ready(self, server: Server) -> bool:
        try:
            return self._ready.get(f"{server.url}/v2/health/ready").is_success
        except httpx.HTTPError:
            return False

    def measure(self, server: Server, golden: GoldenRows) -> ProbeResult:
        if not golden.rows:
            return ProbeResult(problem="there are no golden rows to send; run compare again")
        with httpx.Client(base_url=server.url, headers=REHEARSAL, timeout=TIMEOUT_S, trust_env=False) as client:
            try:
                parity, worst = _parity(client, server, golden)
                return ProbeResult(parity, worst, _p95_ms(client, golden), tolerance=golden.tolerance)
            except _BadAnswer as error:
                return ProbeResult(problem=str(error))
            except httpx.HTTPError as error:
                return ProbeResult(problem=f"no answer to the golden rows ({type(error).__name__}); read the log of {server.name}")


def decide(
    digest: str, answers: ProbeResult, memory_mb: float | None, limits: Serving, replay: ReplayResult | None = None
) -> Check:
    """A figure that is missing or no number fails the check. A replay is only reported."""
    problems = list(_problems(answers, memory_mb, limits)) if not answers.problem else [answers.problem]
    good = f"golden rows within {answers.parity:.1e} of Spark's answers, p95 {answers.p95_ms:.1f} ms, {memory_mb or 0:.0f} MB"
    return Check(
        digest=digest,
        passed=not problems,
        reason="; ".join(problems) or good,
        parity=_known(answers.parity),
        p95_ms=_known(answers.p95_ms),
        memory_mb=memory_mb,
        replay=replay,
    )


class _BadAnswer(Exception):
    """The server answered, but not as it should."""


class _MlflowAnswer(BaseModel):
    predictions: list[dict[str, Any]]


def _problems(answers: ProbeResult, memory_mb: float | None, limits: Serving) -> list[str]:
    limit_ms = limits.max_p95.total_seconds() * 1000
    problems = []
    if not answers.parity <= answers.tolerance:
        problems.append(f"{answers.worst}: {answers.parity:.1e} apart, {answers.tolerance:.0e} is allowed")
    if not answers.p95_ms <= limit_ms:
        problems.append(f"p95 of single rows is {answers.p95_ms:.1f} ms, max_p95 is {limit_ms:g} ms")
    if memory_mb is None:
        problems.append("its memory could not be measured")
    elif not memory_mb <= limits.max_memory_mb:
        problems.append(f"it takes {memory_mb:.0f} MB of memory, max_memory_mb is {limits.max_memory_mb}")
    return problems


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _parity(client: httpx.Client, server: Server, golden: GoldenRows) -> tuple[float, str]:
    largest, worst = 0.0, ""
    numbered = list(enumerate(zip(golden.rows, golden.expected, strict=True), start=1))
    for batch in (numbered[at : at + BATCH] for at in range(0, len(numbered), BATCH)):
        answers = _invoke(client, server.digest, golden.columns, [row for _, (row, _) in batch])
        for (number, (_, expected)), answer in zip(batch, answers, strict=True):
            given = _numbers(answer)
            apart = _difference(given, expected)
            if not apart <= largest:  # also where it is no number
                largest, worst = apart, f"golden row {number}: the server says {_short(given)}, Spark said {_short(expected)}"
    return largest, worst


def _p95_ms(client: httpx.Client, golden: GoldenRows) -> float:
    """Of requests with one row each; nearest rank."""
    taken = []
    started = time.monotonic()
    for row in islice(cycle(golden.rows), WARM_UP + SINGLE_REQUESTS):
        before = time.monotonic()
        _invoke(client, "", golden.columns, [row])
        taken.append(1000 * (time.monotonic() - before))
        if time.monotonic() - started > SINGLE_WITHIN_S:
            break
    counted = sorted(taken[WARM_UP:] or taken)
    return counted[math.ceil(0.95 * len(counted)) - 1]


def _invoke(client: httpx.Client, digest: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    answer = client.post("/invocations", json={"dataframe_split": {"columns": list(columns), "data": rows}})
    if not answer.is_success:
        raise _BadAnswer(f"the golden rows were answered with status {answer.status_code}: {answer.text[:200]}")
    serves = answer.headers.get("X-Image-Digest", digest)
    if digest and serves != digest:
        raise _BadAnswer(f"the server says that it serves {serves}, not {digest}")
    predictions = _predictions(answer)
    if len(predictions) != len(rows):
        raise _BadAnswer(f"{len(rows)} golden rows were sent, {len(predictions)} predictions came back")
    return predictions


def _predictions(answer: httpx.Response) -> list[dict[str, Any]]:
    try:
        return _MlflowAnswer.model_validate_json(answer.content).predictions
    except ValidationError:
        raise _BadAnswer(f"the answer holds no list of predictions: {answer.text[:200]}") from None


def _numbers(prediction: dict[str, Any]) -> tuple[float, ...]:
    """In the order of GoldenRows.expected: probabilities by label, or the one number of a regression."""
    if "probabilities" in prediction:
        numbers = tuple(prediction["probabilities"].values())
    elif "probability" in prediction:
        numbers = (1 - prediction["probability"], prediction["probability"])
    else:
        numbers = (prediction.get("prediction"),)
    if not all(isinstance(number, int | float) for number in numbers):
        raise _BadAnswer(f"prediction {prediction} has no number")
    return numbers


def _difference(given: tuple[float, ...], expected: tuple[float, ...]) -> float:
    if len(given) != len(expected):
        return math.inf
    apart = [abs(a - b) / max(1.0, abs(b)) for a, b in zip(given, expected, strict=True)]
    return max(apart) if all(map(math.isfinite, apart)) else math.inf


def _short(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:.12g}" for number in numbers)
