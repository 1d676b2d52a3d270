"""The live version's last requests, asked of it and of a new version before that one meets traffic.

`replay` never raises, and takes FOR_S at most. Both versions are asked anew: what was kept is without its masked values, so answers
from then could not be compared.
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

FOR_S = 20.0
TIMEOUT_S = 5.0  # of one answer
LARGEST = 8 * 2**20  # bytes of one answer; a server keeps 4 MiB of requests
SAME = 1e-6
REHEARSAL = {"X-Rehearsal": "1"}  # a server neither keeps nor counts what is asked so


class ReplayRequest(BaseModel):
    """A kept request; a masked value is null."""

    columns: list[str]
    rows: list[list[Any]]


class Prediction(BaseModel):
    """Of one row; what the task is shows in what is there."""

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
    """What the two said to one request, with the difference of each row; `new` is None where it did not answer alike."""

    live: ServerAnswer
    new: ServerAnswer | None
    apart: list[float]


def replay(new: Server, live: Sequence[Server], golden_columns: Sequence[str]) -> ReplayResult:
    """`golden_columns` are those that the new version is asked with."""
    until = time.monotonic() + FOR_S
    with httpx.Client(headers=REHEARSAL, trust_env=False) as client:
        try:
            questions = _questions(client, live, until)
        except _Untold as problem:
            return ReplayResult(requests=0, rows=0, refused=0, problem=str(problem))
        found = _ask_both(client, new, questions, until)
    summary = _summary(found)
    if summary.rows:
        return summary
    return summary.model_copy(update={"problem": _problem(questions, found, golden_columns)})


class _Untold(Exception):
    """Nobody told a request to ask."""


class _BufferedRequests(BaseModel):
    requests: list[ReplayRequest]


class _Predictions(BaseModel):
    predictions: list[Prediction]


def _questions(client: httpx.Client, live: Sequence[Server], until: float) -> list[tuple[Server, ReplayRequest]]:
    """With the server that kept each; the newest of every server first, for time may not reach to the oldest."""
    problem, found = "no server of the live version runs", []
    for server in live:
        try:
            found.append([(server, each) for each in reversed(_kept(client, server, until))])
        except _Untold as error:
            problem = str(error)
    if not found:
        raise _Untold(problem)
    questions = [each for each in chain.from_iterable(zip_longest(*found)) if each]
    if not questions:
        raise _Untold("the live version has kept no request yet")
    return questions


def _kept(client: httpx.Client, server: Server, until: float) -> list[ReplayRequest]:
    try:
        status, content = _exchange(client, "GET", f"{server.url}/replay", None, until)
    except httpx.HTTPError as error:
        raise _Untold(f"{server.name} did not tell its last requests ({type(error).__name__}); read its log") from None
    if status == 404:
        raise _Untold("the live version keeps no requests: it was packaged without serving.replay")
    try:
        return _BufferedRequests.model_validate_json(content).requests
    except ValidationError:
        raise _Untold(f"{server.name} answered {status} with no list of requests; read its log") from None


def _ask_both(client: httpx.Client, new: Server, questions: list[tuple[Server, ReplayRequest]], until: float) -> list[ReplayedPair]:
    """Only what the live version answers. By turns one and the other is first, so that neither finds everything warm."""
    found = []
    for number, (live, question) in enumerate(questions):
        body = json.dumps({"dataframe_split": {"columns": question.columns, "data": question.rows}}).encode()
        servers = (live, new) if number % 2 else (new, live)
        said = {server: _ask(client, server, body, until) for server in servers}
        if time.monotonic() > until:
            break
        if answered := said[live]:
            apart = _apart(answered, said[new])
            found.append(ReplayedPair(answered, said[new] if apart else None, apart))
    return found


def _ask(client: httpx.Client, server: Server, body: bytes, until: float) -> ServerAnswer | None:
    begun = time.monotonic()
    try:
        status, content = _exchange(client, "POST", f"{server.url}/invocations", body, until)
        taken = 1000 * (time.monotonic() - begun)
        return ServerAnswer(_Predictions.model_validate_json(content).predictions, taken) if status == 200 else None
    except (httpx.HTTPError, ValidationError):
        return None


def _exchange(client: httpx.Client, method: str, url: str, body: bytes | None, until: float) -> tuple[int, bytes]:
    """Raises httpx.HTTPError also for an answer that is too large, or not whole in time."""
    limit = min(TIMEOUT_S, max(0.01, until - time.monotonic()))
    late, content = time.monotonic() + limit, bytearray()
    with client.stream(method, url, content=body, timeout=limit) as answer:
        for piece in answer.iter_raw():
            content += piece
            if len(content) > LARGEST or time.monotonic() > late:
                raise httpx.ReadError(f"{len(content)} bytes after {limit} s")
        return answer.status_code, bytes(content)


def _apart(live: ServerAnswer, new: ServerAnswer | None) -> list[float]:
    """Row by row the largest difference; empty where the new version does not answer, or not in the same way."""
    if new is None or len(new.predictions) != len(live.predictions):
        return []
    pairs = [(one.numbers, other.numbers) for one, other in zip(live.predictions, new.predictions, strict=True)]
    if not all(one.keys() & other.keys() for one, other in pairs):
        return []
    return [max(abs(one.get(name, 0.0) - other.get(name, 0.0)) for name in one.keys() | other.keys()) for one, other in pairs]


def _summary(found: list[ReplayedPair]) -> ReplayResult:
    apart = [each for both in found for each in both.apart]
    compared = [(both.new.ms, both.live.ms) for both in found if both.new]
    return ReplayResult(
        requests=len(found),
        rows=len(apart),
        refused=len(found) - len(compared),
        moved=sum(each > SAME for each in apart) / len(apart) if apart else None,
        mean=math.fsum(apart) / len(apart) if apart else None,
        largest=max(apart, default=None),
        p95_ms=_p95([new for new, _ in compared]),
        p95_ms_live=_p95([live for _, live in compared]),
    )


def _p95(taken: list[float]) -> float | None:
    """The nearest rank."""
    return sorted(taken)[math.ceil(0.95 * len(taken)) - 1] if taken else None


def _problem(questions: list[tuple[Server, ReplayRequest]], found: list[ReplayedPair], golden_columns: Sequence[str]) -> str:
    """Why no row could be compared. The servers' own words may hold values of the requests, and are not repeated."""
    if not found:
        return f"the live version answered none of its {len(questions)} last requests when asked again without masked values"
    asked = questions[0][1].columns
    missing, unknown = sorted(set(golden_columns) - set(asked)), sorted(set(asked) - set(golden_columns))
    kinds = (("it also asks for", missing), ("it no longer knows", unknown))
    told = "; ".join(f"{kind} {', '.join(names[:5])}" for kind, names in kinds if names)
    return f"the new version answers none of {len(found)} requests as the live one does" + (f": {told}" if told else "")
