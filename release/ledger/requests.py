"""What Airflow, a person or the controller requests for a model: one class for each kind."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from contract.base_model import Strict, Versioned
from contract.documents import Image
from contract.serving import Serving


class BaseRequest(Versioned):
    id: str
    model: str
    who: str
    why: str


class _OfImage(BaseRequest):
    image: Image
    golden: str = Field(description="path of GoldenRows in the store")
    serving: Serving


class CheckRequest(_OfImage):
    """To start the image alone and send it the golden rows."""

    kind: Literal["check"] = "check"


class ReleaseRequest(_OfImage):
    """To move the traffic to the image; `expected_live` is the digest it was compared with (None: nothing was live)."""

    kind: Literal["release"] = "release"
    expected_live: str | None = None


class RollbackRequest(BaseRequest):
    """`image` is one that was live before; None: the previous one."""

    kind: Literal["rollback"] = "rollback"
    image: Image | None = None


class UnquarantineRequest(BaseRequest):
    """To let a version that was rolled back be checked and released again."""

    kind: Literal["unquarantine"] = "unquarantine"
    image: Image


class SwitchRequest(BaseRequest):
    """`freeze`: no release until `unfreeze`. `pin`: only the live version may be live until `unpin`."""

    kind: Literal["freeze", "unfreeze", "pin", "unpin"]


class UnknownRequest(Strict):
    """A request of a newer version of this project, whose kind or format is not known here: kept, and refused."""

    id: str
    kind: str
    model: str
    who: str
    why: str


ImageRequest = CheckRequest | ReleaseRequest
CommandRequest = RollbackRequest | UnquarantineRequest | SwitchRequest
Request = Annotated[ImageRequest | CommandRequest, Field(discriminator="kind")]
KINDS: dict[str, type[BaseRequest]] = {
    "check": CheckRequest,
    "release": ReleaseRequest,
    "rollback": RollbackRequest,
    "unquarantine": UnquarantineRequest,
    **dict.fromkeys(("freeze", "unfreeze", "pin", "unpin"), SwitchRequest),
}


def _is_known(request: Any) -> str:
    if isinstance(request, dict):
        kind = KINDS.get(request.get("kind", ""))
        known = kind is not None and request.get("format", 1) <= len(kind.UPGRADES) + 1
    else:
        known = isinstance(request, BaseRequest)
    return "known" if known else "unknown"


Queued = Annotated[Annotated[Request, Tag("known")] | Annotated[UnknownRequest, Tag("unknown")], Discriminator(_is_known)]


def image_of(request: Queued) -> Image | None:
    """The image that the request is about, where it names one."""
    return None if isinstance(request, SwitchRequest | UnknownRequest) else request.image
