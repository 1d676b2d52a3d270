"""Commands of a person for a model: each becomes a request in the ledger, whose outcome the controller records."""

import time
import uuid
from typing import Literal, TypedDict

from contract.documents import Image
from contract.errors import PermanentError, TransientError
from contract.store.base import DocumentStore
from release.ledger.entries import Outcome
from release.ledger.ledger import Ledger
from release.ledger.requests import CommandRequest, Request, RollbackRequest, SwitchRequest, UnquarantineRequest

POLL_S = 0.5
Command = Literal["rollback", "pin", "unpin", "freeze", "unfreeze", "unquarantine"]
WHAT: dict[Command, str] = {
    "rollback": "everything back to the previous version, or to an earlier one",
    "pin": "only what is live now may be live: no release, no rollback",
    "unpin": "end of a pin",
    "freeze": "no releases; going back stays possible",
    "unfreeze": "end of a freeze",
    "unquarantine": "a version that was rolled back may be checked and released again",
}


class InvalidCommand(PermanentError):
    """The model or version does not exist, or was never live; nothing was changed."""


class NoOutcome(TransientError):
    """The request is in the ledger, and the controller has not ended it in time."""


class _CommonFields(TypedDict):
    """Those that a request of every kind has."""

    id: str
    model: str
    who: str
    why: str


def submit(store: DocumentStore, command: Command, model: str, who: str, why: str, version: int | None = None) -> Request:
    """Puts the request in the model's queue. Raises InvalidCommand for an unknown model, or a version that was never live."""
    ledger = Ledger(store)
    if model not in ledger.models():
        known = ", ".join(ledger.models()) or "none yet"
        raise InvalidCommand(f"no model {model} has ever been checked or released here (there are: {known})")
    image = None if version is None else _image(ledger, command, model, version)
    request = _request(command, image, {"id": f"person-{uuid.uuid4().hex[:16]}", "model": model, "who": who, "why": why})
    ledger.request(request)
    return request


def _request(command: Command, image: Image | None, common: _CommonFields) -> CommandRequest:
    if command == "rollback":
        return RollbackRequest(**common, image=image)
    if command != "unquarantine":
        return SwitchRequest(**common, kind=command)
    if image is None:
        raise InvalidCommand(f"an unquarantine of {common['model']} needs a version: name it with --version")
    return UnquarantineRequest(**common, image=image)


def _image(ledger: Ledger, command: Command, model: str, version: int) -> Image:
    if command != "unquarantine":
        image = ledger.was_live(model, version)
        if image is None:
            raise InvalidCommand(f"version {version} of {model} was never live: only what has had all traffic is gone back to")
        return image
    last = ledger.last(model)
    kept = {entry.image.version: entry.image for entry in last.state.quarantined} if last else {}
    if version not in kept:
        known = ", ".join(map(str, sorted(kept))) or "none"
        raise InvalidCommand(f"version {version} of {model} is not in quarantine (there is: {known})")
    return kept[version]


def await_outcome(store: DocumentStore, request: Request, patience_s: float) -> Outcome:
    """Polls the ledger. Raises NoOutcome after `patience_s`."""
    ledger, until = Ledger(store), time.monotonic() + patience_s
    while (outcome := ledger.outcome(request.model, request.id)) is None:
        if time.monotonic() > until:
            patient = f"within {patience_s:.0f} s"
            raise NoOutcome(
                f"the {request.kind} of {request.model} is in the ledger, but the controller has not answered {patient}: "
                "see that it runs on the serving host; it takes the request up when it does"
            )
        time.sleep(POLL_S)
    return outcome
