"""A request's body: read up to a limit, decoded into what a protocol expects."""

from typing import Any, Protocol, TypeVar

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # public, but not marked as exported
from msgspec import DecodeError, ValidationError
from msgspec.json import Decoder

from serving.errors import RequestRefused

MAX_BYTES = 8 * 1024 * 1024
DISCARDED = 4  # bodies up to this many times the limit are read to the end, so that the client can read the refusal

Form = TypeVar("Form")


class Incoming(Protocol):
    """The part of granian's RSGI protocol that brings a body: whole by a call, in pieces by iteration."""

    async def __call__(self) -> bytes: ...
    def __aiter__(self) -> Any: ...


async def read(headers: Any, incoming: Incoming, limit: int = MAX_BYTES) -> bytes:
    """A declared length within the limit is kept by HTTP's own framing; any other body is counted as it comes."""
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) <= limit and "transfer-encoding" not in headers:
        try:
            return await incoming()
        except ProtocolClosed:  # nobody reads this refusal, but it is counted as the client's error, not ours
            raise RequestRefused("The client left before its body was whole.") from None
    pieces, size = [], 0
    async for piece in incoming:
        size += len(piece)
        if size <= limit:
            pieces.append(piece)
        elif size > DISCARDED * limit:
            break
    if size > limit:
        raise RequestRefused(f"The body is larger than {limit:,} bytes; send fewer rows at a time.", 413)
    return b"".join(pieces)


def decode(decoder: Decoder[Form], body: bytes) -> Form:
    """NaN and Infinity are no JSON and are refused as such: a missing value is written null."""
    try:
        return decoder.decode(body)
    except ValidationError as error:
        raise RequestRefused(f"The body has not the expected form: {error}.") from None
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = "; NaN and Infinity are not JSON, write null for a missing value" if b"NaN" in body or b"Infinity" in body else ""
        raise RequestRefused(f"The body is not JSON: {error}{hint}.") from None
