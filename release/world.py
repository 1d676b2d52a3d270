"""Makes the world match a projection, as far as one turn gets, and tells what it saw. Every turn may be repeated."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from contract.documents import Check, GoldenRows, Image, read
from contract.errors import BadData, RetrainingError
from contract.store import Store
from images.oci import ImageDamaged
from release.check import Answers, Probe, decide
from release.ledger import Active, Traffic
from release.observation import Observation
from release.state import Projection
from release.targets.base import Alias, Router, Server, Target

log = logging.getLogger(__name__)
STOP_AFTER = timedelta(seconds=2)  # without weight: what the router still had under way is answered by then


class World:
    def __init__(self, target: Target, router: Router, alias: Alias, probe: Probe, store: Store, executor: Executor) -> None:
        self._target = target
        self._router = router
        self._alias = alias
        self._probe = probe
        self._store = store
        self._errands = Errands(executor)
        self._running: list[Server] = []
        self._ready: set[Server] = set()
        self._named: dict[str, int] = {}
        self._idle_since: dict[tuple[str, str], datetime] = {}

    def match(self, model: str, wanted: Projection, servers: int, now: datetime) -> Observation:
        trouble: list[str] = []
        broken = self._start(wanted, trouble)
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
        return Observation(
            ready={digest: sum(s in self._ready for s in running if s.digest == digest) for digest in wanted.servers},
            weights=weights,
            traffic=traffic,
            servers=servers,
            answer=self._answer(wanted.asked, running, trouble) if wanted.asked else None,
            named=self._name(model, wanted.named, trouble) if wanted.named else True,
            broken=broken,
            trouble=tuple(trouble),
        )

    def _start(self, wanted: Projection, trouble: list[str]) -> dict[str, str]:
        broken = {}
        for digest, (image, count) in wanted.servers.items():
            with noting(trouble):
                try:
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

    def _answer(self, active: Active, running: list[Server], trouble: list[str]) -> Check | None:
        """Asked once per entry, beside the loop; the memory is taken after the work."""
        server = next((s for s in running if s in self._ready and s.digest == active.image.digest), None)
        limits = active.request.serving
        if server is None or limits is None:
            return None
        with noting(trouble):
            answers = self._errands.result(("ask", active.request.id, active.percent), lambda: self._ask(server, active))
            return answers and decide(server.digest, answers, self._target.memory_mb(server), limits)
        return None

    def _ask(self, server: Server, active: Active) -> Answers:
        return self._probe.ask(server, read(self._store, active.request.golden or "", GoldenRows))

    def _name(self, model: str, image: Image, trouble: list[str]) -> bool:
        if self._named.get(model) != image.version:
            with noting(trouble):
                if self._errands.result(("name", model, image.version), lambda: self._set_alias(model, image.version)):
                    self._named[model] = image.version
        return self._named.get(model) == image.version

    def _set_alias(self, model: str, version: int) -> bool:
        if self._alias.get(model) != version:
            self._alias.set(model, version)
        return self._alias.get(model) == version


class Errands:
    """Slow work beside the loop, so that one slow server or registry does not hold up every model."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._under_way: dict[tuple[Any, ...], Future[Any]] = {}

    def result(self, key: tuple[Any, ...], work: Callable[[], Any]) -> Any:
        """None while it is under way; its result or error once, after which the same key begins anew."""
        future = self._under_way.get(key)
        if future is None:
            future = self._under_way[key] = self._executor.submit(work)
        return self._under_way.pop(key).result() if future.done() else None


@contextmanager
def noting(trouble: list[str]) -> Iterator[None]:
    """What the outside refuses is noted, and done in a later turn; the rest of this one goes on."""
    try:
        yield
    except (RetrainingError, OSError) as error:
        trouble.append(str(error))
