"""From a verdict to a release: the image, and the requests to the release controller. Touches no server and no router."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from contract import documents
from contract.comparison import Verdict
from contract.documents import (
    ANCHOR,
    FORMAT,
    LABELS_FORMAT,
    RUN,
    Check,
    Image,
    Release,
    RunDocument,
    Training,
    ValidationReport,
)
from contract.platform import Images
from contract.serving import replay_env
from plugins.retraining.context import TaskContext, comparison_of, ends_here
from plugins.retraining.errors import EngineTrouble, RolledBack, Stopped
from plugins.retraining.mlflow_registry import limit_mlflow_retries
from plugins.retraining.task_log import Log
from release.ledger.entries import Outcome
from release.ledger.ledger import Ledger
from release.ledger.requests import CheckRequest, ReleaseRequest

if TYPE_CHECKING:  # imported late, for the DAG parser reads this module
    from images.base import Base
    from images.oci import Repository
    from images.package import Contents

SERVING = Path(__file__).resolve().parents[2] / "serving"
SERVED = ("model.onnx", "model.json")
POLL_S = 0.3


def package_version(task: TaskContext, log: Log) -> str:
    """Path of the Image document. The same version gives the same digest, so a retry changes nothing.

    Raises Stopped where the verdict forbids it: a skipped task in Airflow can be overruled by hand.
    """
    verdict = task.read("decide", Verdict)
    reason = ends_here(task.run, verdict)
    if reason:
        raise Stopped(reason)
    if task.find(Image):
        log.info("%s exists already: reused", task.path)
        return task.path
    image = _signed_image(_contents(task, verdict), task.run.platform.images)
    log.info("version %d of %s is %s, %s bytes", image.version, image.model, image.digest, f"{image.size:,}")
    return documents.write(task.store, task.path, image)


def _contents(task: TaskContext, verdict: Verdict) -> "Contents":
    from images.package import Contents

    run, training = task.run, task.read("train", Training)
    labels = _labels(task, verdict, training)
    files = download_served(run.platform.mlflow, training.mlflow_run)
    return Contents(run.model, training.version, run.as_of, files, labels, replay_env(run.spec.serving))


def _labels(task: TaskContext, verdict: Verdict, training: Training) -> dict[str, str]:
    from images.signature import FINGERPRINT, VERDICT

    run = task.run
    return {
        FORMAT: str(LABELS_FORMAT),
        RUN: run.run_id,
        "retraining.mlflow_run": training.mlflow_run,
        "retraining.spec_hash": run.spec_hash,
        "retraining.code_hash": run.code_hash,
        VERDICT: verdict.decision,
        FINGERPRINT: task.read("validate", ValidationReport).snapshot.fingerprint,
        **anchor_label(run, verdict, training.version),
    }


def _signed_image(contents: "Contents", where: Images) -> Image:
    """Signed where the platform names a key, whose connection is read before anything is stored."""
    from images.oci import RegistryTrouble
    from images.package import package
    from images.references import repository_of
    from images.signature import annotations_of, sign

    login = login_of(where)
    key = _connection(where.signing, "images.signing").password or "" if where.signing else None
    repository = repository_of(where.repository, contents.model, login)
    try:
        image = package(contents, _base(where, repository, login), repository)
        if key is not None:
            sign(repository, image.digest, key, annotations_of(image))
    except RegistryTrouble as error:
        raise EngineTrouble(str(error)) from error
    return image


def _base(where: Images, repository: "Repository", login: Any) -> "Base":
    from images.base import NAME, embedded_base, stored_base
    from images.references import repository_of

    if where.rootfs is None:
        return embedded_base(SERVING, repository)
    return stored_base(SERVING, where.rootfs, repository_of(where.repository, NAME, login))


def login_of(images: Images) -> Any:
    """The registry's user and password: from the Airflow connection, or from AWS for ECR where none is set."""
    from images.ecr import ecr_login
    from images.login import Login
    from images.references import host_of

    if images.connection is None:
        return ecr_login(host_of(images.repository))
    connection = _connection(images.connection, "images.connection")
    return Login(connection.login or "", connection.password or "")


def _connection(name: str, setting: str) -> Connection:
    try:
        return BaseHook.get_connection(name)
    except AirflowNotFoundException:
        raise Stopped(f"the Airflow connection {name}, named by {setting}, does not exist: add it, then clear this task") from None


def anchor_label(run: RunDocument, verdict: Verdict, version: int) -> dict[str, str]:
    """The anchor: the last version that was shown to be better, or the first of all; `not_worse` compares with it, too."""
    shown_better = verdict.decision == "promote" and run.spec.gate.rule == "better"
    anchor = version if run.champion is None or shown_better else run.champion.anchor
    return {} if anchor is None else {ANCHOR: str(anchor)}


def download_served(url: str, mlflow_run: str) -> dict[str, bytes]:
    """The files of the ONNX model that the training run logged."""
    limit_mlflow_retries()
    from mlflow.artifacts import download_artifacts  # takes two seconds: not at module level, which the DAG parser reads
    from mlflow.exceptions import MlflowException

    with TemporaryDirectory() as folder:
        try:
            got = Path(download_artifacts(run_id=mlflow_run, artifact_path="onnx", dst_path=folder, tracking_uri=url))
        except MlflowException as error:
            reason = str(error).partition("\n")[0][:300]
            raise EngineTrouble(f"the ONNX model of MLflow run {mlflow_run} could not be fetched from {url}: {reason}") from error
        missing = [name for name in SERVED if not (got / name).is_file()]
        if missing:
            raise EngineTrouble(f"MLflow run {mlflow_run} has no onnx/{missing[0]}: clear the train task")
        return {name: (got / name).read_bytes() for name in SERVED}


def _request(task: TaskContext, kind: Literal["check", "release"]) -> CheckRequest | ReleaseRequest:
    run, image = task.run, task.read("package", Image)
    offered: dict[str, Any] = {
        "id": task.key,
        "model": run.model,
        "image": image,
        "golden": comparison_of(task, image.version).golden,
        "serving": run.spec.serving,
        "who": "airflow",
        "why": f"run {run.run_id}",
    }
    if kind == "check":
        return CheckRequest(**offered)
    return ReleaseRequest(**offered, expected_live=run.champion.digest if run.champion else None)


def request_outcome(task: TaskContext, kind: Literal["check", "release"], patience_s: float = 0) -> Outcome | None:
    """The controller's outcome, None without one within `patience_s`. Idempotent: the request is written once per key."""
    ledger = Ledger(task.store)
    ledger.request(_request(task, kind))
    until = time.monotonic() + patience_s
    while (outcome := ledger.outcome(task.run.model, task.key)) is None and time.monotonic() < until:
        time.sleep(POLL_S)
    return outcome


def accept_check(task: TaskContext, outcome: Outcome) -> Check:
    """Raises Stopped with the controller's reason."""
    if outcome.check:
        documents.write(task.store, task.path, outcome.check)
    if not outcome.done or outcome.check is None or not outcome.check.passed:
        raise Stopped(outcome.reason)
    return outcome.check


def accept_release(task: TaskContext, outcome: Outcome) -> Release:
    """Raises RolledBack or Stopped with the controller's reason."""
    if outcome.release:
        documents.write(task.store, task.path, outcome.release)
    if outcome.release and outcome.release.outcome == "rolled_back":
        alone = "" if outcome.release.previous else "; nothing served before, so requests are answered 503"
        raise RolledBack(outcome.reason + alone)
    if not outcome.done or outcome.release is None or outcome.release.outcome != "released":
        raise Stopped(outcome.reason)
    return outcome.release
