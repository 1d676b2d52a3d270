"""The key of a step's work: equal for all tries of the same work, new when the work must be done again."""

import hashlib
import json
from typing import Any, NamedTuple

from contract.paths import JobFiles
from contract.store.base import Store


def digest_of(value: Any) -> str:
    """sha256 of plain JSON data, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


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
        if JobFiles(folder, step, key).name("failed") not in names:
            return Attempt(key, failed)
        failed += 1
