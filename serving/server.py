"""The HTTP side, an RSGI application: which function answers which path."""

import sys
import traceback
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import msgspec

from serving import body, mlflow_protocol, v2_protocol
from serving.errors import CODES, RequestRefused
from serving.model import Exchange, Model
from serving.prediction_histogram import PredictionCounter
from serving.prometheus import Metrics
from serving.request_buffer import LARGEST, RequestBuffer

JSON = ("content-type", "application/json")
TEXT = ("content-type", "text/plain; version=0.0.4; charset=utf-8")
REHEARSAL = (
    "x-rehearsal"  # marks a request of the release controller: answered and timed, but neither kept nor counted as a client's
)
_encode = msgspec.json.Encoder().encode

Header = tuple[str, str]
Protocol = Callable[[bytes], Exchange]


class Identity(NamedTuple):
    """Model, version and image digest, sent with every answer."""

    model: str
    version: str
    digest: str | None

    def headers(self) -> list[Header]:
        digest = [("x-image-digest", self.digest)] if self.digest else []
        return [("x-model-version", self.version), *digest]


class App:
    """One model's server. `in_flight` requests have begun and are not answered yet."""

    def __init__(self, model: Model, identity: Identity, buffer: RequestBuffer | None):
        self.draining = False
        self.in_flight = 0
        self.identity = identity
        self._buffer = buffer
        self._histogram = PredictionCounter(model.description)
        self._metrics = Metrics(identity.model, identity.version, self._histogram)
        self._headers = identity.headers()
        name, version = identity.model, identity.version
        own = f"/v2/models/{name}"
        self._predictions: dict[str, tuple[str, Protocol]] = {
            "/invocations": ("invocations", partial(mlflow_protocol.invoke, model)),
            f"{own}/infer": ("infer", partial(v2_protocol.infer, model, name, version)),
        }
        self._pages: dict[str, Callable[[], bytes]] = {
            "/ping": self._ready,
            "/health": self._ready,
            "/version": lambda: _encode(identity._asdict()),
            "/v2": lambda: _encode({"name": "serving", "version": version, "extensions": []}),
            "/v2/health/live": lambda: b"{}",
            "/v2/health/ready": self._ready,
            own: lambda: v2_protocol.metadata(model, name, version),
            f"{own}/ready": self._ready,
            "/metrics": self._metrics.text,
        }
        if buffer is not None:
            self._pages["/replay"] = buffer.page

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        begun = perf_counter()
        self.in_flight += 1
        prediction = self._predictions.get(scope.path)
        headers, status, content = self._headers, 200, b""
        try:
            if prediction is None:
                content = self._page(scope)
            else:
                content = await self._prediction(prediction[1], scope, protocol)
        except RequestRefused as refused:
            status, content = refused.status, _refusal(scope.path, refused)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            failure = RequestRefused("The server failed on this request; its log says why.", 500)
            status, content = failure.status, _refusal(scope.path, failure)
        finally:
            self.in_flight -= 1
        kind = TEXT if scope.path == "/metrics" and status == 200 else JSON
        leaving = [("connection", "close")] if self.draining else []
        protocol.response_bytes(status, [kind, *headers, *leaving], content)
        self._metrics.count(prediction[0] if prediction else "other", status)
        if prediction:
            self._metrics.time(perf_counter() - begun)

    async def _prediction(self, predict: Protocol, scope: Any, protocol: Any) -> bytes:
        if scope.method != "POST":
            raise RequestRefused(f"{scope.path} takes POST, not {scope.method}.", 405)
        headers = scope.headers
        payload = await body.read(headers, protocol)
        exchange = predict(payload)
        if REHEARSAL not in headers:
            self._histogram.count(exchange.answer)
            if self._buffer is not None and len(payload) <= LARGEST:
                self._buffer.keep(exchange.names, exchange.rows)
        return exchange.content

    def _page(self, scope: Any) -> bytes:
        page = self._pages.get(scope.path)
        if page is None:
            raise RequestRefused(f"There is no {scope.path[:200]} here; this server has the model {self.identity.model}.", 404)
        if scope.method not in ("GET", "HEAD"):
            raise RequestRefused(f"{scope.path} takes GET, not {scope.method}.", 405)
        return page()

    def _ready(self) -> bytes:
        """The port opens after the model's first answer, so a server that can be reached is ready until it is stopped."""
        if self.draining:
            raise RequestRefused("This server is stopping.", 503)
        return b"{}"


def _refusal(path: str, refused: RequestRefused) -> bytes:
    said = {"error_code": CODES[refused.status], "message": refused.message}
    return _encode(said | {"error": refused.message} if path.startswith("/v2") else said)  # V2's clients read `error`
