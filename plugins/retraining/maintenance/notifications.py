"""What the ledger has for people that no run of theirs waits for: such as a version that was taken back in its probation."""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import takewhile

from contract.store.base import Store
from release.ledger.entries import Entry
from release.ledger.ledger import Ledger

MAX_AGE = timedelta(days=1)  # what is older is no news, such as to an Airflow that was away
MANY = 20  # entries without news are gone through again at the next look; so many are not


def send_notifications(store: Store, ledger: Ledger, model: str, now: datetime, send: Callable[[Entry], None]) -> None:
    """The oldest first. A marker means that all up to its entry is told: killed before it, a task tells twice rather than never."""
    entries = _untold(store, ledger, model, now)
    for entry in entries:
        if entry.notification:
            send(entry)
            store.create(_marker(model, entry.n), b"{}\n")
    if len(entries) > MANY:
        store.create(_marker(model, entries[-1].n), b"{}\n")


def _untold(store: Store, ledger: Ledger, model: str, now: datetime) -> list[Entry]:
    def is_new(entry: Entry) -> bool:
        return now - entry.time <= MAX_AGE and store.read(_marker(model, entry.n)) is None

    return list(takewhile(is_new, ledger.entries(model)))[::-1]


def _marker(model: str, n: int) -> str:
    return f"notifications/{model}/{n}.json"
