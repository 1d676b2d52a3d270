"""Brings the host closer to a projection without waiting, and returns what it observed. Idempotent."""

import logging
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from contract.documents import Check, GoldenRows, Image, ReplayResult, read
from contract.errors import PermanentError, RetrainingError
from contract.store.base import DocumentStore
from release.controller.background import BackgroundCalls, ConfirmedEffects
from release.controller.sliding_window import SlidingWindow
from release.decisions.observation import Observation
from release.decisions.state_machine import Projection
from release.ledger.entries import Checking, PredictionHistogram, Probing, Traffic
from release.probes.golden_rows import Probe, ProbeResult, decide
from release.targets.base import Alias, ImageTags, Proof, Router, Server, Target

log = logging.getLogger(__name__)
STOP_AFTER = timedelta(seconds=2)  # at weight 0: requests in flight are answered by then


@dataclass(frozen=True)
class Parts:
    """The host's own parts, and the registries that follow what is live."""

    target: Target
    router: Router
    alias: Alias
    tags: ImageTags
    proof: Proof
    probe: Probe
    store: DocumentStore


class Reconciler:
    def __init__(self, parts: Parts, executor: Executor) -> None:
        self._parts = parts
        self._target, self._router, self._probe = parts.target, parts.router, parts.probe
        self._background = BackgroundCalls(executor)
        self._confirmed = ConfirmedEffects(self._background)
        self._recent = SlidingWindow()
        self._predictions: dict[str, dict[str, PredictionHistogram]] = {}
        self._running: list[Server] = []
        self._ready: set[Server] = set()
        self._idle_since: dict[tuple[str, str], datetime] = {}

    def reconcile(self, model: str, projection: Projection, servers: int, now: datetime) -> Observation:
        trouble: list[str] = []
        broken = self._start(projection, trouble, now)
        running = self._read_servers(model, trouble)
        with noting(trouble):
            self._route(model, projection, running)
        weights: dict[str, int] | None = None
        traffic: dict[str, Traffic] | None = None
        with noting(trouble):
            weights = self._router.seen(model)
            traffic = self._router.traffic(model)
        with noting(trouble):
            self._stop_unwanted(model, projection, weights, now)
        for tag, image in projection.tags.items():
            self._move_tag(tag, image, trouble, now)
        return Observation(
            ready={digest: sum(s in self._ready for s in running if s.digest == digest) for digest in projection.servers},
            weights=weights,
            traffic=traffic,
            servers=servers,
            predictions=self._predictions_of(model, projection, running, trouble),
            answer=self._check_result(projection.to_probe, projection, running, trouble) if projection.to_probe else None,
            alias_confirmed=self._move_alias(model, projection.champion, trouble, now) if projection.champion else True,
            recent=self._recent_traffic(model, projection, traffic, now),
            broken=broken,
            trouble=tuple(trouble),
        )

    def _start(self, projection: Projection, trouble: list[str], now: datetime) -> dict[str, str]:
        broken = {}
        for digest, (image, count) in projection.servers.items():
            with noting(trouble):
                try:
                    if image != projection.unproven or self._is_proven(image, now):
                        self._target.ensure(image, count)
                except PermanentError as error:
                    broken[digest] = str(error)
        return broken

    def _read_servers(self, model: str, trouble: list[str]) -> list[Server]:
        """The model's running servers, or the last known ones. A server that was ready once stays so: the router checks health."""
        with noting(trouble):
            self._running = self._target.servers()
            self._ready &= set(self._running)
        mine = [server for server in self._running if server.model == model]
        self._ready |= {server for server in mine if server not in self._ready and self._probe.is_ready(server)}
        return mine

    def _route(self, model: str, projection: Projection, running: list[Server]) -> None:
        """Only ready servers of a digest get traffic; without any, all of its running ones."""
        chosen: list[Server] = []
        for digest in projection.weights:
            there = [server for server in running if server.digest == digest]
            chosen += [server for server in there if server in self._ready] or there
        self._router.route(model, projection.weights, chosen)

    def _stop_unwanted(self, model: str, projection: Projection, weights: dict[str, int] | None, now: datetime) -> None:
        """Stops a digest STOP_AFTER its weight was first read back as gone."""
        for digest in self._target.digests(model):
            if digest in projection.servers or weights is None or digest in weights:
                self._idle_since.pop((model, digest), None)
            elif now - self._idle_since.setdefault((model, digest), now) >= STOP_AFTER:
                self._target.stop(model, digest)

    def _predictions_of(
        self, model: str, projection: Projection, running: list[Server], trouble: list[str]
    ) -> dict[str, PredictionHistogram] | None:
        """The last counts read in this release; the servers are read in the background."""
        key = ("predictions", model)
        if not projection.judged:
            self._background.forget(key)
            self._predictions.pop(model, None)
            return None
        with noting(trouble):
            counted = self._background.result(key, lambda: self._probe.predictions(model, running))
            if counted is not None:
                self._predictions[model] = counted
        return self._predictions.get(model)

    def _check_result(
        self, active: Checking | Probing, projection: Projection, running: list[Server], trouble: list[str]
    ) -> Check | None:
        """Probed in the background, once per request and percent; memory is read after the probe's work."""
        server = next((s for s in running if s in self._ready and s.digest == active.image.digest), None)
        if server is None:
            return None
        with noting(trouble):
            live = [other for other in running if other in self._ready and other.digest in projection.weights]
            probed = self._background.result(
                ("probe", active.request.id, active.percent), lambda: self._probe_server(server, active, live)
            )
            return probed and decide(server.digest, probed[0], self._target.memory_mb(server), active.request.serving, probed[1])
        return None

    def _probe_server(
        self, server: Server, active: Checking | Probing, live: list[Server]
    ) -> tuple[ProbeResult, ReplayResult | None]:
        """The golden rows; for a check also a replay of the live version's last requests."""
        golden = read(self._parts.store, active.request.golden, GoldenRows)
        answers = self._probe.measure(server, golden)
        replays = isinstance(active, Checking) and active.request.serving.replay and live and not answers.problem
        return answers, self._probe.replay(server, live, golden.columns) if replays else None

    def _recent_traffic(
        self, model: str, projection: Projection, traffic: dict[str, Traffic] | None, now: datetime
    ) -> Traffic | None:
        if projection.window is None or projection.champion is None or traffic is None:
            return None
        digest = projection.champion.digest
        return self._recent.traffic(model, digest, traffic.get(digest, Traffic()), projection.window, now)

    def _is_proven(self, image: Image, now: datetime) -> bool:
        return self._confirmed.is_confirmed(("proof", image.digest), True, lambda: self._prove(image), now)

    def _prove(self, image: Image) -> bool:
        self._parts.proof.refuse(image)
        return True

    def _move_alias(self, model: str, image: Image, trouble: list[str], now: datetime) -> bool:
        with noting(trouble):
            return self._confirmed.is_confirmed(("alias", model), image.version, lambda: self._set_alias(model, image.version), now)
        return False

    def _set_alias(self, model: str, version: int) -> bool:
        alias = self._parts.alias
        if alias.get(model) != version:
            alias.set(model, version)
        return alias.get(model) == version

    def _move_tag(self, tag: str, image: Image, trouble: list[str], now: datetime) -> None:
        with noting(trouble):
            self._confirmed.is_confirmed(("tag", image.model, tag), image.digest, lambda: self._parts.tags.set(tag, image), now)


@contextmanager
def noting(trouble: list[str]) -> Iterator[None]:
    """An error of another system is noted and retried at the next reconciliation; the rest of this one goes on."""
    try:
        yield
    except (RetrainingError, OSError) as error:
        trouble.append(str(error))
