"""Stand-ins that keep the promises of release/targets/base.py in memory, in simulated time; and a world made of them.

Each effect is a point before and a point after which `Faults` may end the process.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from contract.documents import GoldenRows, Image, ReplayResult
from contract.errors import StoreError
from contract.platform import ServingHost
from contract.serving import Serving
from images.oci import ImageDamaged, RegistryTrouble
from images.signature import Unsigned
from release.controller.loop import Controller
from release.controller.reconciler import Parts, Reconciler
from release.ledger.entries import Outcome, PredictionHistogram, State, Traffic
from release.ledger.ledger import Ledger
from release.ledger.requests import KINDS, Request
from release.probes.golden_rows import ProbeResult
from release.registries.mlflow_alias import AliasUnknown
from release.routing.traefik import RouteRefused
from release.targets.base import Server

BOUNDS = (0.01, 0.05, 0.1, float("inf"))
GOLDEN = "golden.json"
DAY_ONE = datetime(2013, 6, 1, tzinfo=UTC)


class Crash(BaseException):
    """kill −9 here."""


class Faults:
    def __init__(self, crash_at: int = 0) -> None:
        self.crash_at = crash_at
        self.passed = 0

    def point(self) -> None:
        self.passed += 1
        if self.passed == self.crash_at:
            raise Crash


class FakeClock:
    def __init__(self, now: datetime = DAY_ONE) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class MemoryStore:
    root = "memory"

    def __init__(self, faults: Faults | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.faults = faults or Faults()
        self.full = False
        self.unreachable = False

    def create(self, path: str, content: bytes) -> bool:
        self._refuse(self.full or self.unreachable, path, "written")
        self.faults.point()
        made = self.files.setdefault(path, content) is content
        self.faults.point()
        return made

    def read(self, path: str) -> bytes | None:
        self._refuse(self.unreachable, path, "read")
        return self.files.get(path)

    def names(self, folder: str) -> list[str]:
        self._refuse(self.unreachable, folder, "listed")
        return sorted({path[len(folder) + 1 :].split("/")[0] for path in list(self.files) if path.startswith(f"{folder}/")})

    def _refuse(self, broken: bool, path: str, done: str) -> None:
        if broken:
            raise StoreError(f"{path} could not be {done}: the disk is full")


class FakeTarget:
    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.running: list[Server] = []
        self.crashed: list[Server] = []
        self.damaged: set[str] = set()
        self.started = 0
        self.memory = 100.0

    def ensure(self, image: Image, count: int) -> None:
        there = [server for server in self.running if server.digest == image.digest]
        for server in there[count:]:
            self.running.remove(server)
        for _ in range(count - len(there)):
            if image.digest in self.damaged:
                raise ImageDamaged(f"blob of {image.digest} has other bytes than its name says")
            self.faults.point()
            self.started += 1
            url = f"http://127.0.0.1:{20000 + self.started}"
            self.running.append(Server(model=image.model, digest=image.digest, url=url, name=f"{image.model}-{self.started}"))
            self.faults.point()

    def servers(self) -> list[Server]:
        return list(self.running)

    def digests(self, model: str) -> set[str]:
        return {server.digest for server in (*self.running, *self.crashed) if server.model == model}

    def crash(self, digest: str) -> None:
        """For good: what was tried to bring its servers back was in vain."""
        self.crashed += [server for server in self.running if server.digest == digest]
        self.running = [server for server in self.running if server.digest != digest]

    def stop(self, model: str, digest: str) -> None:
        self.faults.point()
        self.running = [server for server in self.running if (server.model, server.digest) != (model, digest)]
        self.crashed = [server for server in self.crashed if (server.model, server.digest) != (model, digest)]
        self.faults.point()

    def memory_mb(self, server: Server) -> float | None:
        return self.memory if server in self.running else None


@dataclass
class Behaviour:
    """How a version answers live traffic."""

    error_share: float = 0.0
    client_error_share: float = 0.0
    seconds: float = 0.005


class FakeRouter:
    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.weights: dict[str, dict[str, int]] = {}
        self.servers: dict[str, list[Server]] = {}
        self.counted: dict[tuple[str, str], Traffic] = {}
        self.behaves: dict[str, Behaviour] = {}
        self.silent = False

    def route(self, model: str, weights: dict[str, int], servers: Sequence[Server]) -> None:
        if {digest for digest, weight in weights.items() if weight} - {server.digest for server in servers}:
            raise RouteRefused(f"{model}: weights {weights} without a server each")
        if (self.weights.get(model), self.servers.get(model)) == (weights, list(servers)):
            return
        self.faults.point()
        self.weights[model], self.servers[model] = dict(weights), list(servers)
        self.faults.point()

    def seen(self, model: str) -> dict[str, int] | None:
        return None if self.silent else self.weights.get(model)

    def traffic(self, model: str) -> dict[str, Traffic] | None:
        return None if self.silent else {digest: counts for (name, digest), counts in self.counted.items() if name == model}

    def serve(self, model: str, requests: int) -> None:
        """So many requests came, and were shared by the weights."""
        for digest, weight in self.weights.get(model, {}).items():
            self._count(model, digest, requests * weight // 100, self.behaves.get(digest, Behaviour()))

    def restart(self) -> None:
        self.counted.clear()

    def _count(self, model: str, digest: str, requests: int, behaviour: Behaviour) -> None:
        if requests:
            before = self.counted.get((model, digest), Traffic(latency=tuple((bound, 0) for bound in BOUNDS)))
            latency = tuple((bound, count + (requests if behaviour.seconds <= bound else 0)) for bound, count in before.latency)
            self.counted[model, digest] = Traffic(
                requests=before.requests + requests,
                errors=before.errors + round(requests * behaviour.error_share),
                client_errors=before.client_errors + round(requests * behaviour.client_error_share),
                latency=latency,
            )


class FakeAlias:
    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.versions: dict[str, int] = {}
        self.down = False

    def set(self, model: str, version: int) -> None:
        self._refuse()
        self.faults.point()
        self.versions[model] = version
        self.faults.point()

    def get(self, model: str) -> int | None:
        self._refuse()
        return self.versions.get(model)

    def _refuse(self) -> None:
        if self.down:
            raise AliasUnknown("MLflow does not answer")


class FakeTags:
    """Of one repository a model."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.names: dict[tuple[str, str], int] = {}
        self.down = False

    def set(self, tag: str, image: Image) -> bool:
        if self.down:
            raise RegistryTrouble("the registry does not answer")
        self.faults.point()
        self.names[image.model, tag] = image.version
        self.faults.point()
        return True

    def get(self, tag: str, beside: Image) -> str | None:
        version = self.names.get((beside.model, tag))
        return digest_of(version) if version else None


class FakeProof:
    def __init__(self) -> None:
        self.unsigned: set[str] = set()

    def refuse(self, image: Image) -> None:
        if image.digest in self.unsigned:
            raise Unsigned(f"version {image.version} is signed by nobody known")


class FakeProbe:
    def __init__(self) -> None:
        self.answers: dict[str, ProbeResult] = {}
        self.unready: set[str] = set()
        self.measured: list[str] = []
        self.replayed: list[tuple[str, tuple[str, ...]]] = []
        self.lies: dict[str, str] = {}
        self.reads = 0

    def is_ready(self, server: Server) -> bool:
        return server.digest not in self.unready

    def measure(self, server: Server, golden: GoldenRows) -> ProbeResult:
        self.measured.append(server.digest)
        return self.answers.get(server.digest, ProbeResult(parity=0.0, p95_ms=5.0))

    def replay(self, server: Server, live: Sequence[Server], columns: Sequence[str]) -> ReplayResult:
        self.replayed.append((server.digest, tuple(sorted({other.digest for other in live}))))
        return ReplayResult(
            requests=1,
            rows=1,
            refused=0,
            changed_share=0.0,
            mean_difference=0.0,
            largest_difference=0.0,
            p95_ms=5.0,
            p95_ms_live=5.0,
        )

    def predictions(self, model: str, servers: Sequence[Server]) -> dict[str, PredictionHistogram]:
        """A thousand answers more at each look, in the bins of `lies`."""
        self.reads += 1000
        return {server.digest: self._spread(server.digest) for server in servers if server.model == model}

    def _spread(self, digest: str) -> PredictionHistogram:
        return PredictionHistogram(rows={self.lies.get(digest, "0.5"): self.reads}, squares=self.reads)


class Inline(Executor):
    """Does the work at once; a Crash is nobody's result."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass
class FakeWorld:
    """One host with a controller that is started again whenever it crashes."""

    home: Path
    faults: Faults = field(default_factory=Faults)
    requests_per_s: int = 400
    servers: int = 2
    max_parallel: int = 4

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.faults)
        self.ledger = Ledger(self.store)
        self.target = FakeTarget(self.faults)
        self.router = FakeRouter(self.faults)
        self.alias = FakeAlias(self.faults)
        self.tags = FakeTags(self.faults)
        self.proof = FakeProof()
        self.probe = FakeProbe()
        self.clock = FakeClock()
        self.store.files[GOLDEN] = GoldenRows(columns=("x",), rows=((1.0,),), expected=((0.5,),)).model_dump_json().encode()
        self.restart()

    def restart(self) -> None:
        self.parts = Parts(self.target, self.router, self.alias, self.tags, self.proof, self.probe, self.store)
        serving = ServingHost(home=str(self.home), python="python", servers=self.servers, max_parallel=self.max_parallel)
        self.controller = Controller(Ledger(self.store), Reconciler(self.parts, Inline()), serving, self.clock)

    def reconcile(self) -> None:
        """One second: traffic, then the controller, or its restart."""
        for model in list(self.router.weights):
            self.router.serve(model, self.requests_per_s)
        try:
            self.controller.reconcile()
        except Crash:
            self.restart()
        self.clock.pass_(1)

    def ask(self, request: Request) -> None:
        try:
            self.ledger.request(request)
        except Crash:
            self.ledger.request(request)

    def outcome(self, request: Request, turns: int = 200, between: Callable[[], None] = lambda: None) -> Outcome:
        """Asks, and turns until the request has ended."""
        self.ask(request)
        for _ in range(turns):
            self.reconcile()
            between()
            if outcome := self.ledger.outcome(request.model, request.id):
                return outcome
        raise AssertionError(f"{request.id} has not ended after {turns} turns: {self.state(request.model).active}")

    def settle(self, turns: int = 5) -> None:
        for _ in range(turns):
            self.reconcile()

    def reach(self, phase: str) -> None:
        for _ in range(50):
            active = self.state().active
            if active and active.phase == phase:
                return
            self.reconcile()
        raise AssertionError(f"the controller never came to {phase}: {active}")

    def state(self, model: str = "late") -> State:
        last = self.ledger.last(model)
        return last.state if last else State()

    def put_live(self, *versions: int, **limits: Any) -> None:
        """Checks and releases each version in turn."""
        for version in versions:
            live = self.state().live
            assert self.outcome(a_request("check", version)).done
            assert self.outcome(a_request("release", version, expected_live=live.digest if live else None, **limits)).done


def digest_of(version: int) -> str:
    return f"sha256:{version:064x}"


def an_image(version: int, model: str = "late") -> Image:
    digest = digest_of(version)
    as_of = DAY_ONE + timedelta(days=version)
    return Image(model=model, version=version, as_of=as_of, digest=digest, reference=f"oci:/images@{digest}", size=1, labels={})


def a_request(
    kind: str, version: int = 0, *, id: str = "", model: str = "late", expected_live: str | None = None, **limits: Any
) -> Request:
    """A check or release of a version; or, without one, a person's request."""
    offered = {
        "image": an_image(version, model),
        "golden": GOLDEN,
        "serving": Serving(**{"hold": "3s", "min_requests": 50, **limits}),
    }
    about = {"id": id or f"{kind}-{version}", "model": model, "who": "ann", "why": "a test asks", "expected_live": expected_live}
    return request_of(kind, **about, **(offered if version else {}))


def request_of(kind: str, **fields: Any) -> Request:
    """With those of the fields that a request of this kind has."""
    known = {name: value for name, value in fields.items() if name in KINDS[kind].model_fields}
    return KINDS[kind](kind=kind, **known)
