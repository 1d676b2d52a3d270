"""Makes the world match a projection, as far as one turn gets, and tells what it saw. Every turn may be repeated."""

import logging
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from contract.documents import Check, GoldenRows, Image, ReplayResult, read
from contract.errors import BadData, RetrainingError
from contract.store.base import Store
from images.oci import ImageDamaged
from release.controller.background import BackgroundCalls, Settled
from release.controller.sliding_window import SlidingWindow
from release.decisions.observation import Observation
from release.decisions.state_machine import Projection
from release.ledger.entries import Active, PredictionHistogram, Traffic
from release.probes.golden_rows import Probe, ProbeResult, decide
from release.targets.base import Alias, ImageTags, Proof, Router, Server, Target

log = logging.getLogger(__name__)
STOP_AFTER = timedelta(seconds=2)  # without weight: what the router still had under way is answered by then


@dataclass(frozen=True)
class Parts:
    """What a host is made of, and who is told what lives on it."""

    target: Target
    router: Router
    alias: Alias
    tags: ImageTags
    proof: Proof
    probe: Probe
    store: Store


class Reconciler:
    def __init__(self, parts: Parts, executor: Executor) -> None:
        self._parts = parts
        self._target, self._router, self._probe = parts.target, parts.router, parts.probe
        self._errands = BackgroundCalls(executor)
        self._settled = Settled(self._errands)
        self._recent = SlidingWindow()
        self._predictions: dict[str, dict[str, PredictionHistogram]] = {}
        self._running: list[Server] = []
        self._ready: set[Server] = set()
        self._idle_since: dict[tuple[str, str], datetime] = {}

    def reconcile(self, model: str, wanted: Projection, servers: int, now: datetime) -> Observation:
        trouble: list[str] = []
        broken = self._start(wanted, trouble, now)
        running = self._look(model, trouble)
        with noting(trouble):
            self._route(model, wanted, running)
        weights: dict[str, int] | None = None
        traffic: dict[str, Traffic] | None = None
        with noting(trouble):
            weights = self._router.seen(model)
            traffic = self._router.traffic(model)
        with noting(trouble):
            self._stop_unwanted(model, wanted, weights, now)
        for tag, image in wanted.tags.items():
            self._tag(tag, image, trouble, now)
        return Observation(
            ready={digest: sum(s in self._ready for s in running if s.digest == digest) for digest in wanted.servers},
            weights=weights,
            traffic=traffic,
            servers=servers,
            predictions=self._predictions_of(model, wanted, running, trouble),
            answer=self._answer(wanted.asked, wanted, running, trouble) if wanted.asked else None,
            named=self._name(model, wanted.named, trouble, now) if wanted.named else True,
            recent=self._lately(model, wanted, traffic, now),
            broken=broken,
            trouble=tuple(trouble),
        )

    def _start(self, wanted: Projection, trouble: list[str], now: datetime) -> dict[str, str]:
        broken = {}
        for digest, (image, count) in wanted.servers.items():
            with noting(trouble):
                try:
                    if image != wanted.unproven or self._is_proven(image, now):
                        self._target.ensure(image, count)
                except (BadData, ImageDamaged) as error:
                    broken[digest] = str(error)
        return broken

    def _look(self, model: str, trouble: list[str]) -> list[Server]:
        """What runs; what ran last if the host does not tell. Who was ready once stays so: the router checks their health."""
        with noting(trouble):
            self._running = self._target.servers()
            self._ready &= set(self._running)
        mine = [server for server in self._running if server.model == model]
        self._ready |= {server for server in mine if server not in self._ready and self._probe.is_ready(server)}
        return mine

    def _route(self, model: str, wanted: Projection, running: list[Server]) -> None:
        """New servers are ready before they get weight; where none is, the running ones are better than nothing."""
        chosen: list[Server] = []
        for digest in wanted.weights:
            there = [server for server in running if server.digest == digest]
            chosen += [server for server in there if server in self._ready] or there
        self._router.route(model, wanted.weights, chosen)

    def _stop_unwanted(self, model: str, wanted: Projection, weights: dict[str, int] | None, now: datetime) -> None:
        """Only what was read back as without weight, and then waited."""
        for digest in self._target.digests(model):
            if digest in wanted.servers or weights is None or digest in weights:
                self._idle_since.pop((model, digest), None)
            elif now - self._idle_since.setdefault((model, digest), now) >= STOP_AFTER:
                self._target.stop(model, digest)

    def _predictions_of(
        self, model: str, wanted: Projection, running: list[Server], trouble: list[str]
    ) -> dict[str, PredictionHistogram] | None:
        """What was told last in this release: the servers are asked beside the loop."""
        key = ("predictions", model)
        if not wanted.judged:
            self._errands.forget(key)
            self._predictions.pop(model, None)
            return None
        with noting(trouble):
            told = self._errands.result(key, lambda: self._probe.predictions(model, running))
            if told is not None:
                self._predictions[model] = told
        return self._predictions.get(model)

    def _answer(self, active: Active, wanted: Projection, running: list[Server], trouble: list[str]) -> Check | None:
        """Asked once per entry, beside the loop; the memory is taken after the work."""
        server = next((s for s in running if s in self._ready and s.digest == active.image.digest), None)
        limits = active.request.serving
        if server is None or limits is None:
            return None
        with noting(trouble):
            live = [each for each in running if each in self._ready and each.digest in wanted.weights]
            told = self._errands.result(("ask", active.request.id, active.percent), lambda: self._ask(server, active, live))
            return told and decide(server.digest, told[0], self._target.memory_mb(server), limits, told[1])
        return None

    def _ask(self, server: Server, active: Active, live: list[Server]) -> tuple[ProbeResult, ReplayResult | None]:
        """The golden rows; and what was asked of the live version lately, of one that has met no traffic."""
        golden = read(self._parts.store, active.request.golden or "", GoldenRows)
        answers = self._probe.ask(server, golden)
        replays = active.request.kind == "check" and active.request.serving.replay and live and not answers.problem
        return answers, self._probe.replay(server, live, golden.columns) if replays else None

    def _lately(self, model: str, wanted: Projection, traffic: dict[str, Traffic] | None, now: datetime) -> Traffic | None:
        if wanted.window is None or wanted.named is None or traffic is None:
            return None
        digest = wanted.named.digest
        return self._recent.traffic(model, digest, traffic.get(digest, Traffic()), wanted.window, now)

    def _is_proven(self, image: Image, now: datetime) -> bool:
        return self._settled.is_so(("proof", image.digest), True, lambda: self._prove(image), now)

    def _prove(self, image: Image) -> bool:
        self._parts.proof.refuse(image)
        return True

    def _name(self, model: str, image: Image, trouble: list[str], now: datetime) -> bool:
        with noting(trouble):
            return self._settled.is_so(("alias", model), image.version, lambda: self._set_alias(model, image.version), now)
        return False

    def _set_alias(self, model: str, version: int) -> bool:
        alias = self._parts.alias
        if alias.get(model) != version:
            alias.set(model, version)
        return alias.get(model) == version

    def _tag(self, tag: str, image: Image, trouble: list[str], now: datetime) -> None:
        with noting(trouble):
            self._settled.is_so(("tag", image.model, tag), image.digest, lambda: self._parts.tags.set(tag, image), now)


@contextmanager
def noting(trouble: list[str]) -> Iterator[None]:
    """What the outside refuses is noted, and done in a later turn; the rest of this one goes on."""
    try:
        yield
    except (RetrainingError, OSError) as error:
        trouble.append(str(error))
