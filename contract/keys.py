"""The key of a step's work: equal for all tries of the same work, new when the work must be done again."""

import hashlib
import json
from typing import Any, NamedTuple

from contract.store.base import Store


def digest_of(value: Any) -> str:
    """sha256 of plain JSON data, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def run_folder(model: str, run: str, started: str = "") -> str:
    """Airflow's run ids contain colons and plus signs: the folder is readable, but safe in every store and URL.

    A run that was deleted and created again under its id has another start time, hence another folder.
    """
    safe = "".join(char if char.isalnum() or char in "-_." else "-" for char in run)
    return f"runs/{model}/{safe}-{hashlib.sha256((run + started).encode()).hexdigest()[:6]}"


class Attempt(NamedTuple):
    """The key of a step's next or current job, and how many of the same work failed before it."""

    key: str
    failed: int


def attempt_of(store: Store, folder: str, step: str, inputs: list[str], clear_number: int) -> Attempt:
    """Key of the step's next or current job.

    Every failed job of the same work leaves `<step>-<key>.failed.json`; the next try then gets a new key.
    A try after a crash, where nothing was recorded, gets the same key and resumes.
    """
    names = set(store.names(folder))
    failed = 0
    while True:
        key = digest_of([store.root, folder, step, inputs, clear_number, failed])[:32]
        if f"{step}-{key}.failed.json" not in names:
            return Attempt(key, failed)
        failed += 1
