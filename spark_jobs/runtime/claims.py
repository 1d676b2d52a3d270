"""Of all applications with one key, the one that creates the claim does the work; it claims all its jobs before the first.

A submission whose sender was killed may start late, beside that of the next attempt. Each was given the number of the first free
claim; the next number is given out only when the engine knows of no live application with the key.
"""

import os
import re
import socket

from contract.documents import Claim, JobRequest, parse
from contract.paths import JobFiles
from contract.store.base import Store

CONTAINER = re.compile(r"container_(?:e\d+_)?(\d+_\d+)_\d+_\d+")


def holder() -> str:
    """The application's id on YARN; elsewhere host and process id."""
    match = CONTAINER.fullmatch(os.environ.get("CONTAINER_ID", ""))
    return f"application_{match[1]}" if match else f"{socket.gethostname()}:{os.getpid()}"


def left_by_another(request: JobRequest, store: Store) -> str:
    """Name of the file by which this job is done, has failed or was given up; empty where there is none."""
    return _first(request, store, "", "error", "failed")


def given_up(request: JobRequest, store: Store) -> str:
    """Name of the file by which Airflow has given up this job; empty where it has not."""
    return _first(request, store, "failed")


def _first(request: JobRequest, store: Store, *kinds: str) -> str:
    listed = set(store.names(request.run.folder))
    return next((name for name in map(request.files.name, kinds) if name in listed), "")


def claim_work(store: Store, files: JobFiles, number: int, me: str) -> str:
    """Creates the claim with this number; empty where `me` holds it, else its holder."""
    path = files.beside(f"claim-{number}")
    if store.create(path, Claim(holder=me).model_dump_json().encode()):
        return ""
    held = store.read(path)
    current = parse(Claim, held).holder if held else "another application"
    return "" if current == me else current
