"""The key of a step's work: equal for every try that means the same work, new when it must be done anew."""

import hashlib
import json
from typing import Any, NamedTuple

from contract.store.base import Store


def digest_of(value: Any) -> str:
    """sha256 of plain JSON data, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def run_folder(model: str, run: str, started: str = "") -> str:
    """Airflow's run ids hold colons and plus signs: kept readable, but safe in every store and URL.

    A run that was deleted and made again under its id has started at another time, and finds nothing of the first.
    """
    safe = "".join(char if char.isalnum() or char in "-_." else "-" for char in run)
    return f"runs/{model}/{safe}-{hashlib.sha256((run + started).encode()).hexdigest()[:6]}"


class Attempt(NamedTuple):
    """The key of a step's next or current job, and how many of the same work failed before it."""

    key: str
    failed: int


def attempt_of(store: Store, folder: str, step: str, inputs: list[str], clear_number: int) -> Attempt:
    """What the step's next or current job goes by.

    Every failed job of the same work leaves `<step>-<key>.failed.json`; the next try then gets a new key.
    A try after a crash, where nothing was recorded, gets the same key and takes up what is there.
    """
    there = set(store.names(folder))
    failed = 0
    while True:
        key = digest_of([store.root, folder, step, inputs, clear_number, failed])[:32]
        if f"{step}-{key}.failed.json" not in there:
            return Attempt(key, failed)
        failed += 1
