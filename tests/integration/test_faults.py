"""One run whose tasks are killed with −9, one after the other, while clients ask: each is tried again, nothing is done twice."""

import pytest

from tests.integration.product import MODEL, Product
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
STEPS = ("open", "train", "compare", "decide", "package", "check")  # validate and release: test_kills.py


def test_a_run_goes_on_over_the_death_of_each_of_its_other_tasks(live: Product):
    old = live.ledger.champion(MODEL)
    run = live.trigger()
    with live.traffic() as tally:
        for step in STEPS:
            live.await_task_process(run, step).kill()
        ended = live.ended(run)
    print(f"{len(STEPS)} tasks killed, each once: {len(tally.failures)} of {tally.sent} requests failed")

    assert (ended.state, set(ended.tasks.values())) == ("success", {"success"})
    assert {step: live.airflow.task(run, step)["try_number"] for step in STEPS} == dict.fromkeys(STEPS, 2)
    assert tally.failures == []
    new = live.ledger.champion(MODEL)
    assert live.alias.get(MODEL) == new.version > old.version
    asked = [outcome.request for entry in live.ledger.entries(MODEL) for outcome in entry.outcomes if new.digest in str(outcome)]
    assert len(asked) == len(set(asked)) == 2  # one check, one release
    until(lambda: live.router.seen(MODEL) == {new.digest: 100}, "the router has the ledger's weights", seconds=10)
    assert sorted(message.split()[1] for message in live.messages(f"version {new.version} is live")) == ["mail", "slack"]
