"""Replays the live version's last requests to it and to a new version before that one gets traffic.

`replay` never raises, and takes `within_s` at most. Both versions answer again: kept requests have no masked values, so the
original answers could not be compared.
"""

import json
import math
import time
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any, NamedTuple

import httpx
from pydantic import BaseModel, ValidationError

from contract.documents import ReplayResult
from release.targets.base import Server

REPLAY_WITHIN_S = 20.0
TIMEOUT_S = 5.0  # of one answer
MAX_ANSWER_BYTES = 8 * 2**20  # bytes of one answer; a server keeps 4 MiB of requests
MOVED_ABOVE = 1e-6
REHEARSAL = {"X-Rehearsal": "1"}  # a server neither keeps nor counts such requests


class ReplayRequest(BaseModel):
    """A kept request; a masked value is null."""

    columns: list[str]
    rows: list[list[Any]]


class Prediction(BaseModel):
    """Of one row; which fields are set depends on the task."""

    prediction: float | str
    probability: float | None = None
    probabilities: dict[str, float] | None = None

    @property
    def numbers(self) -> dict[str, float]:
        if self.probabilities is not None:
            return self.probabilities
        if self.probability is not None:
            return {"probability": self.probability}
        return {"prediction": self.prediction} if isinstance(self.prediction, float) else {}


class ServerAnswer(NamedTuple):
    predictions: list[Prediction]
    ms: float


class ReplayedPair(NamedTuple):
    """Both answers to one request, with the difference of each row; `new` is None where its answer cannot be compared."""

    live: ServerAnswer
    new: ServerAnswer | None
    apart: list[float]


def replay(new: Server, live: Sequence[Server], golden_columns: Sequence[str], within_s: float = REPLAY_WITHIN_S) -> ReplayResult:
    """`golden_columns` are the input columns of the new version."""
    until = time.monotonic() + within_s
    with httpx.Client(headers=REHEARSAL, trust_env=False) as client:
        try:
            kept = _kept_requests(client, live, until)
        except _NoRequests as problem:
            return ReplayResult(requests=0, rows=0, refused=0, problem=str(problem))
        pairs = _replay_all(client, new, kept, until)
    summary = _summary(pairs)
    if summary.rows:
        return summary
    return summary.model_copy(update={"problem": _problem(kept, pairs, golden_columns)})


class _NoRequests(Exception):
    """No server of the live version has returned a kept request."""


class _BufferedRequests(BaseModel):
    requests: list[ReplayRequest]


class _Predictions(BaseModel):
    predictions: list[Prediction]


def _kept_requests(client: httpx.Client, live: Sequence[Server], until: float) -> list[tuple[Server, ReplayRequest]]:
    """Each with the server that kept it; the newest of every server first, for time may not suffice for the oldest."""
    problem, by_server = "no server of the live version runs", []
    for server in live:
        try:
            by_server.append([(server, request) for request in reversed(_requests_of(client, server, until))])
        except _NoRequests as error:
            problem = str(error)
    if not by_server:
        raise _NoRequests(problem)
    requests = [request for request in chain.from_iterable(zip_longest(*by_server)) if request]
    if not requests:
        raise _NoRequests("the live version has kept no request yet")
    return requests


def _requests_of(client: httpx.Client, server: Server, until: float) -> list[ReplayRequest]:
    try:
        status, content = _exchange(client, "GET", f"{server.url}/replay", None, until)
    except httpx.HTTPError as error:
        raise _NoRequests(f"{server.name} did not return its last requests ({type(error).__name__}); read its log") from None
    if status == 404:
        raise _NoRequests("the live version keeps no requests: it was packaged without serving.replay")
    try:
        return _BufferedRequests.model_validate_json(content).requests
    except ValidationError:
        raise _NoRequests(f"{server.name} answered {status} with no list of requests; read its log") from None


def _replay_all(
    client: httpx.Client, new: Server, requests: list[tuple[Server, ReplayRequest]], until: float
) -> list[ReplayedPair]:
    """Only requests that the live version answers. The two alternate in going first, so that caches favour neither."""
    pairs = []
    for number, (live, request) in enumerate(requests):
        body = json.dumps({"dataframe_split": {"columns": request.columns, "data": request.rows}}).encode()
        servers = (live, new) if number % 2 else (new, live)
        answers = {server: _replay_one(client, server, body, until) for server in servers}
        if time.monotonic() > until:
            break
        if answered := answers[live]:
            apart = _differences(answered, answers[new])
            pairs.append(ReplayedPair(answered, answers[new] if apart else None, apart))
    return pairs


def _replay_one(client: httpx.Client, server: Server, body: bytes, until: float) -> ServerAnswer | None:
    begun = time.monotonic()
    try:
        status, content = _exchange(client, "POST", f"{server.url}/invocations", body, until)
        taken = 1000 * (time.monotonic() - begun)
        return ServerAnswer(_Predictions.model_validate_json(content).predictions, taken) if status == 200 else None
    except (httpx.HTTPError, ValidationError):
        return None


def _exchange(client: httpx.Client, method: str, url: str, body: bytes | None, until: float) -> tuple[int, bytes]:
    """Raises httpx.HTTPError also for an answer above MAX_ANSWER_BYTES, or not complete in time."""
    limit = min(TIMEOUT_S, max(0.01, until - time.monotonic()))
    late, content = time.monotonic() + limit, bytearray()
    with client.stream(method, url, content=body, timeout=limit) as answer:
        for piece in answer.iter_raw():
            content += piece
            if len(content) > MAX_ANSWER_BYTES or time.monotonic() > late:
                raise httpx.ReadError(f"{len(content)} bytes after {limit} s")
        return answer.status_code, bytes(content)


def _differences(live: ServerAnswer, new: ServerAnswer | None) -> list[float]:
    """Largest difference of each row; empty where the new version does not answer, or with other fields."""
    if new is None or len(new.predictions) != len(live.predictions):
        return []
    pairs = [(one.numbers, other.numbers) for one, other in zip(live.predictions, new.predictions, strict=True)]
    if not all(one.keys() & other.keys() for one, other in pairs):
        return []
    return [max(abs(one.get(name, 0.0) - other.get(name, 0.0)) for name in one.keys() | other.keys()) for one, other in pairs]


def _summary(pairs: list[ReplayedPair]) -> ReplayResult:
    apart = [difference for both in pairs for difference in both.apart]
    compared = [(both.new.ms, both.live.ms) for both in pairs if both.new]
    return ReplayResult(
        requests=len(pairs),
        rows=len(apart),
        refused=len(pairs) - len(compared),
        changed_share=sum(difference > MOVED_ABOVE for difference in apart) / len(apart) if apart else None,
        mean_difference=math.fsum(apart) / len(apart) if apart else None,
        largest_difference=max(apart, default=None),
        p95_ms=_p95([new for new, _ in compared]),
        p95_ms_live=_p95([live for _, live in compared]),
    )


def _p95(taken: list[float]) -> float | None:
    """Nearest rank."""
    return sorted(taken)[math.ceil(0.95 * len(taken)) - 1] if taken else None


def _problem(requests: list[tuple[Server, ReplayRequest]], pairs: list[ReplayedPair], golden_columns: Sequence[str]) -> str:
    """Why no row could be compared. The servers' own messages may hold values of the requests, and are not quoted."""
    if not pairs:
        return f"the live version answered none of its {len(requests)} last requests when asked again without masked values"
    received = requests[0][1].columns
    missing, unknown = sorted(set(golden_columns) - set(received)), sorted(set(received) - set(golden_columns))
    kinds = (("it also asks for", missing), ("it no longer knows", unknown))
    mismatch = "; ".join(f"{kind} {', '.join(names[:5])}" for kind, names in kinds if names)
    return f"the new version answers none of {len(pairs)} requests as the live one does" + (f": {mismatch}" if mismatch else "")
