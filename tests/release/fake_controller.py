"""A stand-in for the controller that needs nothing of its host, so that tests of Airflow's side can use it."""

from datetime import UTC, datetime

from contract.documents import Check
from contract.store.base import Store
from release.decisions.observation import Observation
from release.decisions.probation import changes_of_rollback
from release.decisions.state_machine import step
from release.decisions.transitions import end, end_check, live_already, release_outcome
from release.ledger.entries import Entry, Starting
from release.ledger.ledger import Ledger
from release.ledger.requests import CheckRequest, ImageRequest, Request

NOTHING = Observation(ready={}, weights=None, traffic=None, servers=2)
LONG_AGO = datetime(2013, 6, 1, tzinfo=UTC)


class FakeController:
    """Ends each queued request in one turn: by `check` and `release`, which are "well" or the sentence of what went wrong.

    What a person asks is answered as the real one does, as far as it needs no traffic to move.
    """

    def __init__(self, store: Store, check: str = "well", release: str = "well") -> None:
        self.ledger = Ledger(store)
        self.check = check
        self.release = release

    def reconcile(self) -> None:
        for model in self.ledger.models():
            last = self.ledger.last(model)
            if last and last.state.queue:
                self._end(model, last, last.state.queue[0])

    def _end(self, model: str, last: Entry, request: Request) -> None:
        state = last.state
        if not isinstance(request, ImageRequest) or state.quarantine_of(request.image.digest):
            self.ledger.append(model, last, step(state, NOTHING, LONG_AGO))
            return
        image = request.image
        active = Starting(request=request, image=image, since=LONG_AGO)
        if isinstance(request, CheckRequest):
            passed = self.check == "well"
            reason = "golden rows answered" if passed else self.check
            draft = end_check(state, active, Check(digest=image.digest, passed=passed, reason=reason))
        elif state.live and state.live.digest == image.digest:
            draft = end(state, live_already(state, request), checked=None)
        elif request.expected_live != (state.live and state.live.digest):
            draft = end(state, release_outcome(state, active, "refused", "another version is live"))
        elif state.checked is None or state.checked.digest != image.digest:
            draft = end(state, release_outcome(state, active, "refused", "it has not passed a check; clear check"))
        elif self.release == "well":
            outcome = release_outcome(state, active, "released", "all steps held", done=True)
            draft = end(state, outcome, live=image, previous=state.live, checked=None)
        else:
            changes = changes_of_rollback(state, image, self.release, LONG_AGO)
            draft = end(state, release_outcome(state, active, "rolled_back", self.release), checked=None, **changes)
        self.ledger.append(model, last, draft)
