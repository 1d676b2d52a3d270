"""Of all applications that carry one key, one does the work: who creates the claim.

A submission whose sender was killed may register late, beside that of the next try. Each was told the number of the first free
claim; the next number is given out only when the engine knows of no living application with the key.
"""

import os
import re
import socket

from contract.base_model import Versioned
from contract.documents import parse
from contract.store.base import Store

CONTAINER = re.compile(r"container_(?:e\d+_)?(\d+_\d+)_\d+_\d+")


class Claim(Versioned):
    holder: str


def holder() -> str:
    """The application's id on YARN; elsewhere this process."""
    match = CONTAINER.fullmatch(os.environ.get("CONTAINER_ID", ""))
    return f"application_{match[1]}" if match else f"{socket.gethostname()}:{os.getpid()}"


def other_holder(store: Store, prefix: str, number: int, me: str) -> str:
    """Empty where this one holds the claim `<prefix>.claim-<number>.json` now; else who does."""
    path = f"{prefix}.claim-{number}.json"
    if store.create(path, Claim(holder=me).model_dump_json().encode()):
        return ""
    held = store.read(path)
    current = parse(Claim, held).holder if held else "somebody"
    return "" if current == me else current
