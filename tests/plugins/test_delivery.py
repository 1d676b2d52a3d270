"""What a version must fulfil before it becomes an image."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from contract import documents
from contract.comparison import Verdict
from contract.documents import Image, RunDocument, Snapshot, ValidationReport
from contract.platform import Images
from contract.store.local import LocalStore
from images.ecr import EcrLogin
from images.login import Login
from images.references import find
from images.signature import Unsigned, verify
from plugins.retraining.catalog import load_model_and_platform
from plugins.retraining.context import TaskContext
from plugins.retraining.delivery import login_of, package_version
from plugins.retraining.errors import Stopped
from plugins.retraining.freeze_run import Trigger, freeze_run
from tests.plugins import services
from tests.plugins.stand_in_job import training

DUE = datetime(2013, 6, 15, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("decision", "kind", "release", "reason"),
    [
        ("keep", "scheduled", True, "^keep: by 0.1$"),
        ("inconclusive", "scheduled", True, "^inconclusive: by 0.1$"),
        ("promote", "backfill", True, "^a backfill never releases; its verdict would be: by 0.1$"),
        ("promote", "manual", False, "^this run was triggered with release off; its verdict would be: by 0.1$"),
    ],
)
def test_nothing_is_packaged_that_the_verdict_does_not_let_go_on(bundle, tmp_path, decision, kind, release, reason):
    store = LocalStore(str(tmp_path))
    run = opened(bundle, store, kind, release)
    verdict = documents.write(store, f"{run.folder}/decide-1.json", Verdict(decision=decision, reason="by 0.1"))

    with pytest.raises(Stopped, match=reason):
        package_version(TaskContext("package", run, store, {"decide": verdict}, 0), logging.getLogger())


def opened(bundle: Path, store: LocalStore, kind: str = "manual", release: bool = True) -> RunDocument:
    trigger = Trigger("r", kind, clear_number=0, started=DUE, due=DUE, conf={}, url="")
    entry = load_model_and_platform(bundle / "dags" / "models" / "late.yaml")
    path = freeze_run(*entry, trigger, {"as_of": None, "data": None, "release": release}, store)
    return documents.read(store, path, RunDocument)


@pytest.fixture
def packaging(bundle, tmp_path) -> Iterator[TaskContext]:
    """All that the package step reads, of a run whose platform wants images signed."""
    (tmp_path / "artifacts" / "onnx").mkdir(parents=True)
    for name in ("model.onnx", "model.json"):
        (tmp_path / "artifacts" / "onnx" / name).write_bytes(b"{}")
    store = LocalStore(str(tmp_path / "store"))
    with services.mlflow(tmp_path / "artifacts", {}) as url:
        run = opened(bundle, store)
        images = run.platform.images.model_copy(update={"repository": f"oci:{tmp_path / 'images'}", "signing": "signer"})
        run = run.model_copy(update={"platform": run.platform.model_copy(update={"images": images, "mlflow": url})})
        snapshot = Snapshot(uri="file:/snapshot", fingerprint="f1", rows={}, as_of=DUE)
        left = {
            "validate": ValidationReport(snapshot=snapshot, checks=(), seconds=1),
            "train": training(None, "well"),
            "decide": Verdict(decision="promote", reason="by 0.1"),
        }
        paths = {step: documents.write(store, f"{run.folder}/{step}-1.json", document) for step, document in left.items()}
        yield TaskContext("package", run, store, paths, 0)


def test_an_image_is_signed_by_the_key_that_the_connection_keeps(packaging, monkeypatch):
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    monkeypatch.setenv("AIRFLOW_CONN_SIGNER", json.dumps({"conn_type": "generic", "password": pem}))

    image = documents.read(packaging.store, package_version(packaging, logging.getLogger()), Image)

    said = {"model": "late", "version": "7", "verdict": "promote", "fingerprint": "f1"}
    verify(*find(image.reference), (public,), said)
    with pytest.raises(Unsigned, match="says fingerprint 'f1' instead of 'f2'"):
        verify(*find(image.reference), (public,), {**said, "fingerprint": "f2"})


def test_without_its_key_nothing_is_left_that_could_be_released(packaging):
    with pytest.raises(
        Stopped, match=r"Airflow connection signer, named by images.signing, does not exist: add it, then clear this task"
    ):
        package_version(packaging, logging.getLogger())

    assert packaging.find(Image) is None


def test_a_registrys_login_is_the_connections_and_for_amazons_that_of_aws(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_REGISTRY", json.dumps({"conn_type": "generic", "login": "ann", "password": "secret"}))
    elsewhere, ecr = "registry.example.com/models", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/models"

    assert login_of(Images(repository=elsewhere)) is None
    assert login_of(Images(repository="oci:images")) is None
    for repository in (elsewhere, ecr):
        assert login_of(Images(repository=repository, connection="registry")) == Login("ann", "secret")
    assert isinstance(login_of(Images(repository=ecr)), EcrLogin)
