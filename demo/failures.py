"""`make demo-failures`: four bad runs, each stopped at its own gate, while the old version goes on serving."""

import sys
import time
from collections.abc import Callable

from contract.documents import Image
from demo import faults, services
from demo.airflow_api import ENDED, Airflow
from demo.errors import DemoError
from demo.live import Live
from demo.loop import Ended, follow
from demo.paths import INBOX, MODEL
from demo.run import clients, only_one
from demo.traffic import Tally
from release.ledger.commands import await_outcome, submit
from release.ledger.entries import Outcome

AS_OF = "2013-08-01T00:00:00+00:00"  # the gate promotes as of this time, too, unless something is wrong
TASK_TIMEOUT_S = 600


class Failures:
    """Runs each fault and checks that it did no harm."""

    def __init__(self) -> None:
        self.airflow, self.live = Airflow(), Live()
        champion = self.live.champion(MODEL)
        if champion is None:
            raise DemoError("nothing is live yet: run `make demo` first")
        self.champion = champion
        self._thaw()

    def bad_data(self) -> None:
        run = self._trigger({"data": faults.faulty_data("unit_changed", AS_OF)})
        self._stopped_at("validate", self._follow(run))

    def shuffled_labels(self) -> None:
        run = self._trigger({"data": faults.faulty_data("labels_shuffled", AS_OF)})
        ended = self._follow(run)
        self._expect(ended.states.get("package") == "skipped", "the challenger should have been stopped at decide")
        self._still_serving()

    def damaged_image(self) -> str:
        """Returns the run, which the next fault continues."""
        run = self._trigger({})
        with faults.controller_stopped():
            image = self._await_image(run)
            faults.damage_model_layer(image)
        self._stopped_at("check", self._follow(run))
        return run

    def slow_model(self, run: str) -> None:
        print("    the image is packed anew (clearing `package`), and this time the model answers slowly under traffic")
        before = len(self._rollbacks())
        with clients(self.live) as tally, faults.SlowedDown(self.live, MODEL):
            self.airflow.clear(MODEL, run, "package")
            ended = self._follow(run)
        self._expect(len(self._rollbacks()) > before, "the slow version should have been rolled back")
        self._stopped_at("release", ended)
        _print_tally(tally)

    def _thaw(self) -> None:
        """Each demonstration rolls a version back, and the third rollback in a week freezes the model."""
        last = self.live.ledger.last(MODEL)
        if last and last.state.frozen:
            await_outcome(self.live.store, submit(self.live.store, "unfreeze", MODEL, "demo", "shown before"), TASK_TIMEOUT_S)

    def _trigger(self, conf: dict[str, str]) -> str:
        return self.airflow.trigger(MODEL, {"as_of": AS_OF, **conf})

    def _follow(self, run: str) -> Ended:
        return follow(self.airflow, self.live, MODEL, run)

    def _await_image(self, run: str) -> Image:
        until = time.monotonic() + TASK_TIMEOUT_S
        while (path := self.airflow.xcom(MODEL, run, "package")) is None:
            if time.monotonic() > until or self.airflow.run_state(MODEL, run) in ENDED:
                raise DemoError("the run did not reach its image")
            time.sleep(0.5)
        return self.live.document(path, Image)

    def _rollbacks(self) -> list[Outcome]:
        entries = self.live.ledger.entries(MODEL)
        return [out for entry in entries for out in entry.outcomes if out.release and out.release.outcome == "rolled_back"]

    def _stopped_at(self, step: str, ended: Ended) -> None:
        self._expect(ended.states.get(step) == "failed", f"the run should have been stopped at {step}")
        self._still_serving()

    def _still_serving(self) -> None:
        with clients(self.live) as tally:
            time.sleep(2)
        self._expect(
            set(tally.versions) == {str(self.champion.version)} and not tally.failures, "the old version should be serving"
        )
        print(f"    message sent: {_last_message()}\n    still serving: version {self.champion.version}")

    def _expect(self, held: bool, sentence: str) -> None:
        if not held:
            raise DemoError(f"{sentence}, and was not: see `make status`")


def _last_message() -> str:
    """Subject and reason of the newest message."""
    messages = INBOX.read_text().split("\n--- ") if INBOX.exists() else []
    return ": ".join(line.removeprefix("<pre>") for line in messages[-1].splitlines()[1:3]) if messages else "none"


def _print_tally(tally: Tally) -> None:
    print(
        f"    clients: {tally.sent:,} requests meanwhile, {len(tally.failures)} failed, answers by version: {dict(tally.versions)}"
    )


def titled(title: str, act: Callable[[], object]) -> object:
    print(f"\n  {title}")
    return act()


def show_all() -> int:
    if not services.running():
        raise DemoError("nothing of the demo is running: run `make demo` first")
    with only_one():
        failures = Failures()
        titled("1  a day of data is corrupted upstream", failures.bad_data)
        titled("2  a challenger trained on shuffled labels", failures.shuffled_labels)
        run = titled("3  an image whose model file was altered", failures.damaged_image)
        titled("4  a model that is slow under live traffic", lambda: failures.slow_model(str(run)))
    print("\nfour bad runs, four stops; the version that was live before is live still")
    return 0


if __name__ == "__main__":
    sys.exit(services.tell(show_all))
