"""Of all applications with one key, the one that creates the claim does the work.

A submission whose sender was killed may start late, beside that of the next attempt. Each was given the number of the first free
claim; the next number is given out only when the engine knows of no live application with the key.
"""

import os
import re
import socket

from contract.base_model import Versioned
from contract.documents import parse
from contract.paths import JobFiles
from contract.store.base import Store

CONTAINER = re.compile(r"container_(?:e\d+_)?(\d+_\d+)_\d+_\d+")


class Claim(Versioned):
    holder: str


def holder() -> str:
    """The application's id on YARN; elsewhere host and process id."""
    match = CONTAINER.fullmatch(os.environ.get("CONTAINER_ID", ""))
    return f"application_{match[1]}" if match else f"{socket.gethostname()}:{os.getpid()}"


def claim_work(store: Store, files: JobFiles, number: int, me: str) -> str:
    """Creates the claim with this number; empty where `me` holds it, else its holder."""
    path = files.beside(f"claim-{number}")
    if store.create(path, Claim(holder=me).model_dump_json().encode()):
        return ""
    held = store.read(path)
    current = parse(Claim, held).holder if held else "another application"
    return "" if current == me else current
