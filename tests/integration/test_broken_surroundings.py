"""A service or an image that a run needs is absent or damaged: the run says so, the live version serves on, the run is mended."""

import pytest

from contract.documents import Image, read
from demo.airflow_api import ENDED
from demo.faults import damage_model_layer
from demo.paths import MLFLOW_URL
from tests.integration.product import MODEL, Product
from tests.release.local import answers
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900, func_only=True)]

REPORTED_WITHIN_S = 180
STOPPED_WITHIN_S = 8


def test_a_run_goes_on_over_an_absent_mlflow_a_stop_of_everything_and_a_damaged_image(live: Product):
    old = live.ledger.champion(MODEL)
    run = live.trigger()
    stops_at_train_without_mlflow(live, run)
    live.airflow.clear(MODEL, run, "train")
    loses_nothing_by_a_stop(live, run, old)

    live.await_task(run, "compare", "running")
    image = stops_at_check_with_a_damaged_image(live, run)
    assert live.serving_version() == str(old.version)
    live.airflow.clear(MODEL, run, "package")

    assert live.ended(run).state == "success"
    assert live.ledger.champion(MODEL) == image
    assert live.serving_version() == str(image.version)
    assert image.version > old.version


def stops_at_train_without_mlflow(live: Product, run: str) -> None:
    mlflow = live.checkout.service("mlflow")
    mlflow.stop()
    try:
        live.await_task(run, "train", "failed", seconds=REPORTED_WITHIN_S)
        assert live.ended(run).state == "failed"
    finally:
        mlflow.start()
    (by_slack,) = [message for message in live.messages("stopped at train") if " slack " in message]
    assert f"MLflow at {MLFLOW_URL} failed: " in by_slack
    assert "See that it runs and that the platform file names it, then clear this task" in by_slack
    until(lambda: answers(f"{MLFLOW_URL}/health"), "MLflow is back", seconds=60)


def stops_at_check_with_a_damaged_image(live: Product, run: str) -> Image:
    controller = live.checkout.on_host("controller")
    controller.stop()
    try:
        path = until(lambda: live.airflow.xcom(MODEL, run, "package"), "the run has its image", seconds=300)
        image = read(live.store, path, Image)
        damage_model_layer(image)
    finally:
        controller.start()
    ended = live.ended(run)
    assert (ended.state, ended.tasks["check"], ended.tasks["release"]) == ("failed", "failed", "upstream_failed")
    return image


def loses_nothing_by_a_stop(live: Product, run: str, old: Image) -> None:
    """In the middle of its training, which is done anew."""
    live.await_spark(run, "train")
    live.checkout.stop()
    until(lambda: live.checkout.processes() == [], "nothing runs any more", seconds=STOPPED_WITHIN_S)

    live.start()
    until(lambda: live.serving_version() == str(old.version), "what was live serves again", seconds=60)
    assert live.ledger.champion(MODEL) == old
    assert live.airflow.run_state(MODEL, run) not in ENDED
