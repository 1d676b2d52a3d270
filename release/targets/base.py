"""The seams between the controller and the host it serves from: what starts servers, and what sends them requests."""

from collections.abc import Sequence
from typing import Protocol

from contract.base_model import Strict
from contract.documents import Image
from release.ledger.entries import Traffic


class Server(Strict):
    """One running process or container that answers for a digest at `url`, such as http://127.0.0.1:20001."""

    model: str
    digest: str
    url: str
    name: str


class Target(Protocol):
    """Where servers run. Every call may be repeated."""

    def ensure(self, image: Image, count: int) -> None:
        """Starts what is missing of `image` and stops what is too many, without waiting.

        Raises PermanentError where no retry helps (a damaged image, another lock than the host's).
        """

    def servers(self) -> list[Server]:
        """Running servers of every model, ready or not."""

    def digests(self, model: str) -> set[str]:
        """All digests that the host keeps of a model, also of crashed servers."""

    def stop(self, model: str, digest: str) -> None: ...

    def memory_mb(self, server: Server) -> float | None:
        """Memory in use; None if it cannot be measured."""


class Router(Protocol):
    """Sends each model's requests to its servers. Every call may be repeated."""

    def route(self, model: str, weights: dict[str, int], servers: Sequence[Server]) -> None:
        """Weights are percents by digest and sum to 100; none at all means 503. Called every second: no change, no write."""

    def seen(self, model: str) -> dict[str, int] | None:
        """The weights that are in force now, read back; None if that is unknown or its servers are not those last routed."""

    def traffic(self, model: str) -> dict[str, Traffic] | None:
        """None if the router does not answer. A digest that is absent has not been counted yet, or no longer."""


class Alias(Protocol):
    """MLflow's alias `champion`, which names the live version."""

    def set(self, model: str, version: int) -> None: ...

    def get(self, model: str) -> int | None: ...


class ImageTags(Protocol):
    """Names in a model's repository of images that follow what is live."""

    def set(self, tag: str, image: Image) -> bool:
        """True once the repository has confirmed it."""

    def get(self, tag: str, beside: Image) -> str | None:
        """The digest with this tag in the repository of this image."""


class Proof(Protocol):
    """Verifies an image's signature before it may get traffic."""

    def refuse(self, image: Image) -> None:
        """Raises PermanentError where no known key has signed it."""
