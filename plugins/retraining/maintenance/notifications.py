"""Notifications from the ledger about events that no run waits for, such as a version taken back in its probation."""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import takewhile

from contract.paths import StoreLayout
from contract.store.base import Store
from release.ledger.entries import Entry
from release.ledger.ledger import Ledger

MAX_AGE = timedelta(days=1)  # older ones are not sent, for example after an outage of Airflow
MAX_UNMARKED = 20  # beyond so many new entries a marker is written even without a notification, so that they are not read again


def send_notifications(store: Store, ledger: Ledger, model: str, now: datetime, send: Callable[[Entry], None]) -> None:
    """Oldest first. A marker means that all up to its entry was sent; a task killed before writing it sends twice, not never."""
    entries = _unsent_entries(store, ledger, model, now)
    for entry in entries:
        if entry.notification:
            send(entry)
            store.create(_marker(model, entry.n), b"{}\n")
    if len(entries) > MAX_UNMARKED:
        store.create(_marker(model, entries[-1].n), b"{}\n")


def _unsent_entries(store: Store, ledger: Ledger, model: str, now: datetime) -> list[Entry]:
    def is_new(entry: Entry) -> bool:
        return now - entry.time <= MAX_AGE and store.read(_marker(model, entry.n)) is None

    return list(takewhile(is_new, ledger.entries(model)))[::-1]


def _marker(model: str, n: int) -> str:
    return f"{StoreLayout.NOTIFICATIONS}/{model}/{n}.json"
