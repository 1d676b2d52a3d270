"""The controller process of a host: at least once a second it observes and reconciles every model, decides and appends."""

import argparse
import fcntl
import hashlib
import logging
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

from contract.errors import PermanentError, RetrainingError, StoreError
from contract.platform import Platform, ServingHost, load_platform
from contract.store.factory import store_at
from release.controller.bounded_store import BoundedStore
from release.controller.local_state import LocalRecord, LocalState
from release.controller.reconciler import Parts, Reconciler
from release.decisions.observation import known_traffic
from release.decisions.state_machine import is_releasing, project, step
from release.ledger.entries import Draft, Entry, State
from release.ledger.ledger import Ledger, LedgerBroken
from release.ledger.requests import Request, RollbackRequest
from release.targets.base import Target

log = logging.getLogger("release.controller.loop")
INTERVAL_S = 1.0
FAST_INTERVAL_S, FAST_FOR_S = (
    0.2,
    5.0,
)  # shorter pauses after a start or an entry: its effect is often there at once


class AlreadyRunning(PermanentError):
    """Another controller holds this host's lock."""


class Controller:
    def __init__(self, ledger: Ledger, reconciler: Reconciler, serving: ServingHost, clock: Callable[[], datetime]) -> None:
        home = Path(serving.home)
        self._ledger = ledger
        self._reconciler = reconciler
        self._local_state = LocalState(home / "entries")
        self._commands = home / "commands"
        self._commands.mkdir(parents=True, exist_ok=True)  # a person writes into it in a hurry
        self._serving = serving
        self._clock = clock
        self._last_traffic_at: dict[str, datetime] = {}
        self._logged: dict[str, str] = {}

    def reconcile(self) -> bool:
        """Whether any model has a new entry, so that more may follow at once. One model's failure is logged; the others go on."""
        moved = False
        for model in self._models():
            try:
                moved |= self._reconcile(model)
            except Exception as error:  # of any kind: the other models are reconciled nevertheless
                self._log_change(model, f"could not be reconciled: {str(error) or type(error).__name__}", error)
        return moved

    def _reconcile(self, model: str) -> bool:
        record, problem = self._last(model)
        if record is None:
            self._log_change(model, "; ".join(problem))
            return False
        state, now = record.state, self._clock()
        servers = self._serving.servers
        seen = self._reconciler.reconcile(model, project(state, servers), servers, now)
        if model not in self._last_traffic_at or known_traffic(state, seen) is not None:
            self._last_traffic_at[model] = now
        self._log_change(model, "; ".join((*problem, *seen.broken.values(), *seen.trouble)))
        seen = replace(seen, silent_for=now - self._last_traffic_at[model], may_release=self._may_release(model))
        draft = step(state, seen, now)
        if draft:
            self._append(model, record, draft, writable=not problem)
        self._take_command_file(model)
        return draft is not None

    def _may_release(self, model: str) -> bool:
        """Whether fewer than max_parallel releases of other models are in work. Rollbacks are not limited."""
        others = (self._local_state.get(other) for other in self._local_state.models() if other != model)
        return sum(is_releasing(record.state) for record in others if record) < self._serving.max_parallel

    def _models(self) -> list[str]:
        try:
            known = self._ledger.models()
        except StoreError:
            known = []
        return sorted({*known, *self._local_state.models()})

    def _last(self, model: str) -> tuple[LocalRecord | None, tuple[str, ...]]:
        """The record to decide from, and the problems of the ledger."""
        record = self._local_state.get(model)
        try:
            last = self._ledger.last(model)
            _refuse_lost_entries(model, last, record)
            if last and record and record.ahead:
                last = self._record(model, last, record.ahead)
        except (StoreError, LedgerBroken) as error:
            return record, (str(error),)
        if last:
            self._local_state.put(model, LocalRecord(entry=last))
        return self._local_state.get(model), ()

    def _record(self, model: str, last: Entry, ahead: State) -> Entry | None:
        """Appends the rollbacks made while the store could not be written; others can only have queued requests meanwhile."""
        late = [request for request in last.state.queue if not (ahead.waits(request.id) or ahead.outcome(request.id))]
        happened = ahead.outcomes[-1].reason if ahead.outcomes else "going back"
        draft = Draft(
            who="controller",
            why="the store could not be written at the time",
            what=f"recorded afterwards: {happened}",
            notification=f"changes made while the store could not be written are recorded now: {happened}",
            state=ahead.model_copy(update={"queue": (*ahead.queue, *late)}),
            outcomes=tuple(outcome for outcome in ahead.outcomes if last.state.outcome(outcome.request) is None),
        )
        return self._ledger.append(model, last, draft)

    def _append(self, model: str, record: LocalRecord, draft: Draft, *, writable: bool) -> None:
        """The entry comes before its effect, except for a rollback, which does not wait for the store."""
        try:
            entry = self._ledger.append(model, record.entry, draft) if writable and not record.ahead else None
        except StoreError as error:
            self._log_change(model, str(error))
            writable, entry = False, None
        if entry:
            self._local_state.put(model, LocalRecord(entry=entry))
        elif draft.backward and not (writable and not record.ahead):
            self._local_state.put(model, LocalRecord(entry=record.entry, ahead=draft.state))
        else:
            return
        log.info("%s: %s (%s)%s", model, draft.what, draft.why, "" if entry else ", not recorded yet")

    def _take_command_file(self, model: str) -> None:
        """The file `commands/<model>.rollback` requests a rollback even while the store fails; its text is the reason."""
        path = self._commands / f"{model}.rollback"
        if not path.exists():
            return
        text, made = path.read_text().strip(), path.stat().st_mtime_ns
        name = hashlib.sha256(f"{text}{made}".encode()).hexdigest()[:16]
        request = RollbackRequest(id=f"command-{name}", model=model, who="host", why=text or "no reason given")
        try:
            self._ledger.request(request)
        except (StoreError, LedgerBroken):
            self._queue_locally(model, request)
        path.unlink()

    def _queue_locally(self, model: str, request: Request) -> None:
        record = self._local_state.get(model)
        if record and not (record.state.waits(request.id) or record.state.outcome(request.id)):
            queued = record.state.model_copy(update={"queue": (*record.state.queue, request)})
            self._local_state.put(model, LocalRecord(entry=record.entry, ahead=queued))

    def _log_change(self, model: str, problem: str, error: Exception | None = None) -> None:
        """Only when the problem changes, and once when it is over."""
        if problem != self._logged.get(model, ""):
            log.warning("%s: %s", model, problem or "all is well again", exc_info=error)
            self._logged[model] = problem


def _refuse_lost_entries(model: str, last: Entry | None, record: LocalRecord | None) -> None:
    if record and (last is None or last.n < record.entry.n or (last.n == record.entry.n and last.id != record.entry.id)):
        there = f"entry {last.n}" if last else "none"
        raise LedgerBroken(f"the ledger of {model} ends at {there}, but entry {record.entry.n} was there: restore it from a backup")


def controller_for(platform: Platform) -> Controller:
    parts = parts_of(platform)
    executor = ThreadPoolExecutor(max_workers=32, thread_name_prefix="background")
    return Controller(Ledger(BoundedStore(parts.store)), Reconciler(parts, executor), platform.serving, steady_clock())


def steady_clock() -> Callable[[], datetime]:
    """Start time plus monotonic time since: setting the system clock must not end a step early, or never."""
    began, mark = datetime.now(UTC), time.monotonic()
    return lambda: began + timedelta(seconds=time.monotonic() - mark)


def parts_of(platform: Platform) -> Parts:
    from images.signature import Verifier
    from release.probes.golden_rows import HttpProbe
    from release.registries.image_tags import RegistryTags
    from release.registries.mlflow_alias import MlflowAlias
    from release.routing.traefik import TraefikRouter

    return Parts(
        target=target_of(platform.serving),
        router=TraefikRouter(platform.serving),
        alias=MlflowAlias(platform.mlflow),
        tags=RegistryTags(),
        proof=Verifier(platform.images.public_keys),
        probe=HttpProbe(),
        store=store_at(platform.store),
    )


def target_of(serving: ServingHost) -> Target:
    if serving.target == "docker":
        from release.targets.docker import DockerTarget

        return DockerTarget(serving)
    from release.targets.process import ProcessTarget

    return ProcessTarget(serving)


def lock(home: Path) -> TextIO:
    """Held until the process ends, however it ends."""
    home.mkdir(parents=True, exist_ok=True)
    file = (home / "controller.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AlreadyRunning(f"another controller holds {file.name}; stop it first, or let it work") from None
    return file


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="release.controller.loop", description=__doc__)
    parser.add_argument("--platform", type=Path, required=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        platform = load_platform(
            parser.parse_args(arguments).platform, Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
        )
        held = lock(Path(platform.serving.home))
        controller = controller_for(platform)
    except RetrainingError as error:
        log.error("%s", error)
        return 1
    log.info("reconciles every model at least once a second, lock %s", held.name)
    moved = time.monotonic()  # a start counts, too: what a killed controller left half done needs several reconciliations
    while True:
        started = time.monotonic()
        moved = started if controller.reconcile() else moved
        pause_s = FAST_INTERVAL_S if started - moved < FAST_FOR_S else INTERVAL_S
        time.sleep(max(0.0, pause_s - (time.monotonic() - started)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
