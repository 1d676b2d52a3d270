"""Each process is killed with −9 while clients ask: runs and releases end by themselves, and nothing is done twice."""

import psutil
import pytest

from contract.documents import Image
from demo.traffic import Tally
from release.ledger.entries import Outcome
from tests.integration.product import CLIENTS, MODEL, REQUESTS_PER_SECOND, Product
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900, func_only=True)]

CONDEMNED = ("freeze_run", "train", "compare", "decide", "package", "check", "release")  # validate's is killed at work
OUTAGE_S = 5  # Traefik is started again at once


def controller(product: Product, image: Image) -> None:
    product.checkout.on_host("controller").kill()


def traefik(product: Product, image: Image) -> None:
    """What supervisord knows is the shell that starts it again at once."""
    psutil.Process(product.checkout.on_host("traefik").pid).children()[0].kill()


def new_server(product: Product, image: Image) -> None:
    product.checkout.on_host(f"{MODEL}-{image.digest.removeprefix('sha256:')[:12]}-0").kill()


@pytest.mark.parametrize(
    ("kill", "most_failures"),
    [(controller, 0), (new_server, CLIENTS), (traefik, OUTAGE_S * REQUESTS_PER_SECOND)],
)
def test_a_release_goes_on_over_the_death_of_what_serves_it(live: Product, kill, most_failures, record_property):
    image = live.next_image()
    with live.traffic() as tally:
        assert live.await_outcome(live.ask("check", image)).done
        request = live.ask("release", image)
        live.await_release(percent=20, seconds=60)
        kill(live, image)
        assert live.ledger.outcome(MODEL, request.id) is None
        live.await_outcome(request)
    record_property("failed requests", len(tally.failures))
    print(f"{kill.__name__} killed: {len(tally.failures)} of {tally.sent} requests failed")
    assert len(tally.failures) <= most_failures, tally.failures[:3]
    assert_released(live, request.id, image, tally)


def test_a_run_goes_on_over_the_death_of_each_of_its_tasks_and_of_the_scheduler(live: Product):
    old = live.ledger.champion(MODEL)
    for step in CONDEMNED:
        live.condemn(step)
    run = live.trigger()
    with live.traffic() as tally:
        application = live.await_spark(run, "validate")
        live.await_task_process(run, "validate").kill()
        assert live.await_spark(run, "compare") == application, "the jobs were done by the first application"
        live.await_task(run, "check", "success")
        active = live.await_release(percent=0, seconds=60)
        live.checkout.service("airflow-scheduler").kill()
        assert live.ledger.outcome(MODEL, active.request.id) is None
        until(lambda: live.ledger.outcome(MODEL, active.request.id), "the release ended without Airflow", seconds=60)
        ended = live.ended(run)
    print(f"{len(ended.tasks)} tasks and the scheduler killed: {len(tally.failures)} of {tally.sent} requests failed")

    assert list(live.checkout.condemned.iterdir()) == []
    assert (ended.state, set(ended.tasks.values())) == ("success", {"success"})
    tries = {step: live.airflow.task(run, step)["try_number"] for step in ended.tasks if step != "release"}
    assert tries == dict.fromkeys(tries, 2)  # a poke that the scheduler's death lost may count as one more try
    assert tally.failures == []
    assert_released(live, active.request.id, active.image, tally)
    assert active.image.version > old.version
    requests = [
        outcome.request for entry in live.ledger.entries(MODEL) for outcome in entry.outcomes if active.image.digest in str(outcome)
    ]
    assert len(requests) == len(set(requests)) == 2  # one check, one release
    notifications = live.messages(f"version {active.image.version} is live")
    assert sorted(message.split()[1] for message in notifications) == ["mail", "slack"]


def assert_released(product: Product, request_id: str, image: Image, tally: Tally) -> None:
    """Once, at 100 % on the one digest that the ledger names."""
    outcome: Outcome
    (outcome,) = product.outcomes(request_id)
    assert (outcome.release.outcome, outcome.release.digest) == ("released", image.digest), outcome.reason
    assert product.ledger.champion(MODEL) == image
    assert product.ledger.last(MODEL).state.weights == {image.digest: 100}
    until(lambda: product.router.seen(MODEL) == {image.digest: 100}, "the router has the ledger's weights", seconds=10)
    assert str(image.version) in tally.versions
    assert product.alias.get(MODEL) == image.version
