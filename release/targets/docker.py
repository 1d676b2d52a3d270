"""Servers as hardened containers of an engine with Docker's API on this host; their ports are on its loopback only."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from requests.exceptions import RequestException

from contract.documents import Image
from contract.errors import PermanentError, TransientError
from contract.paths import Digest
from contract.platform import ServingHost
from images.login import login_on_host
from images.references import host_of
from release.targets.base import Server
from release.targets.ports import PORTS, is_free

# Labels: what runs, and for which host's controller; another one on the same engine has its own.
MODEL, DIGEST, VERSION, HOME = (f"retraining.{name}" for name in ("model", "digest", "version", "home"))
CONTAINER_PORT = "8080/tcp"
STOP_WITHIN_S = 30.0  # a server gives its last requests 25 s
TIMEOUT_S = 20
NOT_THERE = (ImageNotFound, NotFound)


class EngineUnreachable(TransientError):
    """The engine does not answer; what it runs goes on as it is, or died with it."""


class CannotPull(PermanentError):
    """The registry has no such image, or this host may not have it."""


class DockerTarget:
    def __init__(self, serving: ServingHost) -> None:
        self._serving = serving
        self._client: docker.DockerClient | None = None
        self._puller = ThreadPoolExecutor(max_workers=2, thread_name_prefix="pull")
        self._pulls: dict[str, Future[None]] = {}
        self._stopping: dict[str, float] = {}

    def ensure(self, image: Image, count: int) -> None:
        names = [f"{_prefix(image)}{number}" for number in range(count)]
        with self._engine_errors():
            there = {container.name: container for container in self._containers(image.model, image.digest)}
            for name in there.keys() - set(names):
                self._stop_container(there[name])
            missing = [name for name in names if name not in there or self._is_over(there[name])]
            if missing and self._is_pulled(image):
                for name in missing:
                    self._start(image, name)

    def servers(self) -> list[Server]:
        with self._engine_errors():
            return [
                _server(container)
                for container in self._containers()
                if container.status == "running" and container.name not in self._stopping
            ]

    def digests(self, model: str) -> set[str]:
        with self._engine_errors():
            return {container.labels[DIGEST] for container in self._containers(model)}

    def stop(self, model: str, digest: str) -> None:
        with self._engine_errors():
            for container in self._containers(model, digest):
                self._stop_container(container)

    def memory_mb(self, server: Server) -> float | None:
        """Memory of the container's cgroup without inactive file cache."""
        try:
            memory: dict[str, Any] = self._engine().containers.get(server.name).stats(stream=False, one_shot=True)["memory_stats"]
            stats = memory["stats"]
            size: float = (memory["usage"] - stats.get("total_inactive_file", stats.get("inactive_file", 0))) / 2**20
            return size
        except (DockerException, RequestException, EngineUnreachable, KeyError):
            return None

    def _engine(self) -> docker.DockerClient:
        if self._client is None:
            with self._engine_errors():
                self._client = docker.from_env(timeout=TIMEOUT_S)
        return self._client

    def _containers(self, model: str = "", digest: str = "") -> list[Container]:
        """Of this host's controller only, running or not, sorted by name."""
        named = {MODEL: model, DIGEST: digest}
        labels = [f"{HOME}={self._serving.home}", *(f"{label}={value}" for label, value in named.items() if value)]
        matches = self._engine().containers.list(all=True, filters={"label": labels}, ignore_removed=True)
        return sorted(matches, key=lambda container: container.name)

    def _is_pulled(self, image: Image) -> bool:
        """A pull takes seconds to minutes: it runs in the background; its error is raised once, then the next call pulls again."""
        pull = self._pulls.get(image.digest)
        if pull is None:
            try:
                self._engine().images.get(image.reference)
                return True
            except ImageNotFound:
                self._pulls[image.digest] = self._puller.submit(self._pull, image)
                return False
        if pull.done():
            self._pulls.pop(image.digest).result()
        return False

    def _pull(self, image: Image) -> None:
        """By digest: the engine itself refuses bytes that are another image's."""
        try:
            login = login_on_host(host_of(image.reference))
            auth = {"username": login.user, "password": login.password} if login else None
            self._engine().api.pull(image.reference, auth_config=auth)
            self._engine().images.get(image.reference)
        except NOT_THERE as error:
            raise CannotPull(f"version {image.version} of {image.model} cannot be pulled: {_explanation(error)}") from None
        except APIError as error:
            raise EngineUnreachable(f"{image.reference} could not be pulled: {_explanation(error)}") from None

    def _start(self, image: Image, name: str) -> None:
        self._engine().containers.run(
            image.reference,
            name=name,
            detach=True,
            labels={MODEL: image.model, DIGEST: image.digest, VERSION: str(image.version), HOME: self._serving.home},
            environment={"IMAGE_DIGEST": image.digest},
            ports={CONTAINER_PORT: ("127.0.0.1", _free_port())},
            user="65532:65532",
            init=True,  # a first process of its own ignores SIGTERM until it has a handler for it
            read_only=True,
            tmpfs={"/tmp": "size=16m,noexec,nosuid,nodev"},  # noqa: S108  (the container's own)
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=f"{self._serving.memory_mb}m",
            memswap_limit=f"{self._serving.memory_mb}m",
            nano_cpus=int(self._serving.cpus * 1e9),
            pids_limit=128,
            restart_policy={"Name": "always"},
            log_config={"type": "json-file", "config": {"max-size": "5m", "max-file": "3"}},
        )

    def _is_over(self, container: Container) -> bool:
        """Whether it has ended for good; then it is removed, and its name is free."""
        if container.status in ("exited", "dead", "created"):
            container.remove(force=True)
            self._stopping.pop(container.name, None)
            return True
        return False

    def _stop_container(self, container: Container) -> None:
        """Without waiting: one SIGTERM, removal by force after STOP_WITHIN_S, removal once it has ended."""
        if self._is_over(container):
            return
        signalled_at = self._stopping.get(container.name)
        if signalled_at is None:
            container.update(restart_policy={"Name": "no"})
            container.kill("SIGTERM")
            self._stopping[container.name] = time.monotonic()
        elif time.monotonic() - signalled_at > STOP_WITHIN_S:
            container.remove(force=True)
            self._stopping.pop(container.name)

    @contextmanager
    def _engine_errors(self) -> Iterator[None]:
        try:
            yield
        except (DockerException, RequestException) as error:
            advice = "start it, or see DOCKER_HOST" if not isinstance(error, APIError) else "see its log"
            raise EngineUnreachable(f"the container engine of this host failed: {_explanation(error)}; {advice}") from None


def _server(container: Container) -> Server:
    bound = container.attrs.get("HostConfig", {}).get("PortBindings") or container.attrs["NetworkSettings"]["Ports"]
    port = bound[CONTAINER_PORT][0]["HostPort"]
    labels = container.labels
    return Server(model=labels[MODEL], digest=labels[DIGEST], url=f"http://127.0.0.1:{port}", name=container.name)


def _prefix(image: Image) -> str:
    return f"{image.model}-{Digest(image.digest).short}-"


def _free_port() -> int:
    port = next((port for port in random.sample(PORTS, len(PORTS)) if is_free(port)), None)
    if port is None:
        raise EngineUnreachable(f"no port of {PORTS.start}-{PORTS.stop - 1} on 127.0.0.1 is free; stop what uses them")
    return port


def _explanation(error: Exception) -> str:
    explanation: Any = getattr(error, "explanation", None) or error
    return str(explanation).strip().partition("\n")[0][:300]
