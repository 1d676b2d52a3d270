"""Traefik as the router: one file per model, rendered whole and renamed into place; what is in force is read back."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from contract.errors import TransientError
from contract.paths import Digest
from contract.platform import ServingHost
from images.files import write_whole
from release.ledger.entries import Traffic
from release.routing.counters import Counters
from release.targets.base import Server

ROUTES = "routes"  # the folder, below serving.home, that Traefik watches
ENTRY_POINT = "models"
API_TIMEOUT_S = 2.0
# A prediction changes nothing, so a request may be repeated, even one that a server was answering when it died. Only after 502
# (no connection, or a broken one), and for longer than HEALTH takes to notice it; never after 504: a slow model must not get a
# request twice.
RETRY = {"attempts": 12, "initialInterval": "60ms", "status": ["502"], "retryNonIdempotentMethod": True}
# To repeat a request Traefik keeps its body in a buffer as large as the largest allowed: two thirds of its work (measured).
# It takes the longest rule that matches: bodies of a known length below 10 kB, nearly all, use SMALL and its small buffer.
SMALL = " && HeaderRegexp(`Content-Length`, `^[0-9]{1,4}$`)"
RETRY_SMALL = {**RETRY, "maxRequestBodyBytes": 9999}
# Often, but patient: a check that gives up sooner than a request does would make one slow server an outage.
HEALTH = {"path": "/v2/health/ready", "interval": "1s", "timeout": "9s"}


class RouteRefused(TransientError):
    """The requested routes would lose requests; the old ones stay in force."""


class TraefikRouter:
    def __init__(self, serving: ServingHost) -> None:
        self._folder = Path(serving.home, ROUTES)
        self._api = httpx.Client(base_url=serving.router_api, timeout=API_TIMEOUT_S, trust_env=False)  # this host: never by a proxy
        self._counters = Counters()

    def route(self, model: str, weights: dict[str, int], servers: Sequence[Server]) -> None:
        content = render(model, weights, servers)
        path = self._file(model)
        if not path.exists() or path.read_text() != content:
            write_whole(path, content.encode())

    def seen(self, model: str) -> dict[str, int] | None:
        try:
            rendered = _parse(self._file(model).read_text())["http"]["services"]
            active = {name: self._service(name) for name in rendered}
        except (FileNotFoundError, httpx.HTTPError):
            return None
        if any(_servers(active[name]) != _servers(rendered[name]) for name in rendered):
            return None
        return _weights(active[model])

    def traffic(self, model: str) -> dict[str, Traffic] | None:
        """Of POST requests only: a monitor's GETs say nothing about predictions."""
        try:
            text = self._api.get("/metrics").raise_for_status().text
        except httpx.HTTPError:
            return None
        samples: dict[str, list[Sample]] = defaultdict(list)
        for sample in _samples(text, model):
            samples["sha256:" + sample.labels["service"].removesuffix("@file").removeprefix(f"{model}-")].append(sample)
        return self._counters.grown(model, {digest: _traffic(of_digest) for digest, of_digest in samples.items()})

    def _service(self, name: str) -> dict[str, Any]:
        service = self._api.get(f"/api/http/services/{name}@file").raise_for_status().json()
        return service if service["status"] == "enabled" else {}

    def _file(self, model: str) -> Path:
        return self._folder / f"{model}.yml"


def render(model: str, weights: dict[str, int], servers: Sequence[Server]) -> str:
    """The model's whole Traefik file. Raises RouteRefused for a weight without a server."""
    by_digest = {digest: sorted(s.url for s in servers if (s.model, s.digest) == (model, digest)) for digest in weights}
    idle = [digest for digest, urls in by_digest.items() if weights[digest] and not urls]
    if idle or (weights and sum(weights.values()) != 100):
        raise RouteRefused(f"{model}: weights {weights} need 100 percent in sum and a running server each; none runs of {idle}")
    services = {service_name(model, digest): _load_balancer(urls) for digest, urls in by_digest.items()}
    document = {
        "http": {
            "routers": {model: _rule(model, f"{model}-retry"), f"{model}-small": _rule(model, f"{model}-retry-small", SMALL)},
            "middlewares": {
                f"{model}-strip": {"stripPrefix": {"prefixes": [f"/{model}"]}},
                f"{model}-retry": {"retry": RETRY},
                f"{model}-retry-small": {"retry": RETRY_SMALL},
            },
            "services": {model: _split(model, weights), **services},
        }
    }
    content: str = yaml.dump(document, Dumper=yaml.CSafeDumper)
    if _parse(content) != document:  # one broken file would freeze every model's routes
        raise RouteRefused(f"{model}: the routes {document} cannot be written as YAML")
    return content


def _parse(content: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load(content, yaml.CSafeLoader)  # in C: every model's file is parsed every second
    return document


def service_name(model: str, digest: str) -> str:
    return f"{model}-{Digest(digest).hex}"


def _rule(model: str, retry: str, more: str = "") -> dict[str, Any]:
    """Without /replay: clients must not read a server's last requests."""
    return {
        "entryPoints": [ENTRY_POINT],
        "rule": f"(Path(`/{model}`) || PathPrefix(`/{model}/`)) && !Path(`/{model}/replay`){more}",
        "middlewares": [f"{model}-strip", retry],
        "service": model,
    }


def _split(model: str, weights: dict[str, int]) -> dict[str, Any]:
    """Without weights a pool without servers, which answers 503."""
    if not weights:
        return {"loadBalancer": {"servers": []}}
    return {"weighted": {"services": [{"name": service_name(model, d), "weight": w} for d, w in sorted(weights.items())]}}


def _load_balancer(urls: list[str]) -> dict[str, Any]:
    return {"loadBalancer": {"servers": [{"url": url} for url in urls], "healthCheck": dict(HEALTH)}}


def _servers(service: dict[str, Any]) -> list[str]:
    return sorted(server["url"] for server in service.get("loadBalancer", {}).get("servers") or [])


def _weights(service: dict[str, Any]) -> dict[str, int]:
    services = service.get("weighted", {}).get("services", [])
    return {f"sha256:{entry['name'].partition('@')[0].partition('-')[2]}": entry.get("weight", 0) for entry in services}


def _samples(metrics: str, model: str) -> Iterator[Sample]:
    """Only this model's lines are parsed, so that reconciling many models stays cheap."""
    lines = (line for line in metrics.splitlines() if f'service="{model}-' in line and 'method="POST"' in line)
    for family in text_string_to_metric_families("\n".join(lines)):
        yield from family.samples


def _traffic(samples: list[Sample]) -> Traffic:
    """Latencies of successful answers only: quick refusals would hide a slow model."""
    counts: dict[str, int] = defaultdict(int)
    buckets: dict[float, int] = defaultdict(int)
    for sample in samples:
        code = int(sample.labels["code"])
        if sample.name.endswith("_requests_total"):
            counts[_kind(code)] += int(sample.value)
        elif sample.name.endswith("_bucket") and _kind(code) == "right":
            buckets[float(sample.labels["le"])] += int(sample.value)
    return Traffic(
        requests=sum(counts.values()),
        errors=counts["error"],
        client_errors=counts["client"],
        latency=tuple(sorted(buckets.items())),
    )


def _kind(code: int) -> str:
    """499, a client that gave up waiting, is an error, as is anything that is not a status."""
    if 200 <= code < 400:
        return "right"
    return "client" if 400 <= code < 499 else "error"
