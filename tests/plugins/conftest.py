"""An Airflow of its own, in a temporary folder: set up before anything imports Airflow."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

HOME = Path(tempfile.mkdtemp(prefix="retraining-dags-"))
ROOT = Path(__file__).resolve().parents[2]
BUNDLE = HOME / "bundle"
TAGS: dict[str, str] = {}  # of the version that was judged last, in MLflow

os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(BUNDLE),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(HOME / "logs"),
    "AIRFLOW_CONN_SPARK_TEST": json.dumps({"conn_type": "spark", "host": "local[1]"}),
    "RETRAINING_PLATFORM": "test",
}

import pytest  # noqa: E402

from tests.plugins import services  # noqa: E402
from tests.stores import hdfs, hdfs_cluster, s3, s3_server, store  # noqa: E402, F401  (fixtures)


class Inbox(NamedTuple):
    """What people were sent."""

    slack: list[str]
    mail: list[services.Mail]


@pytest.fixture(scope="session", autouse=True)
def bundle() -> Iterator[Path]:
    """The test models beside the real DAG files, as a bundle."""
    shutil.copytree(ROOT / "tests" / "plugins" / "bundle", BUNDLE)
    for name in ("retraining.py", "commands.py", "maintenance.py"):
        shutil.copy(ROOT / "dags" / name, BUNDLE / "dags")
    yield BUNDLE
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def receivers() -> Iterator[Inbox]:
    inbox = Inbox([], [])
    with services.webhook(inbox.slack) as slack, services.mail_sink(inbox.mail) as smtp:
        url = f"http://127.0.0.1:{slack}/services"
        extra = {"disable_ssl": True, "disable_tls": True, "retry_limit": 1, "timeout": 5}
        os.environ["AIRFLOW_CONN_SLACK_TEST"] = json.dumps({"conn_type": "slackwebhook", "host": url, "password": "T0/B0/secret"})
        os.environ["AIRFLOW_CONN_SMTP_TEST"] = json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": smtp, "extra": extra})
        yield inbox


@pytest.fixture
def inbox(receivers: Inbox) -> Inbox:
    receivers.slack.clear()
    receivers.mail.clear()
    return receivers


@pytest.fixture(scope="session")
def airflow(bundle: Path) -> Iterator[None]:
    """A database that knows the bundle, and the services that its platform names."""
    from tests.plugins import airflow_internals

    with ExitStack() as stack:
        artifacts = HOME / "artifacts"
        (artifacts / "onnx").mkdir(parents=True)
        (artifacts / "onnx" / "model.onnx").write_bytes(b"graph")
        (artifacts / "onnx" / "model.json").write_bytes(b"{}")
        platform = bundle / "dags" / "platforms" / "test.yaml"
        platform.write_text(
            platform.read_text().replace("http://127.0.0.1:1", stack.enter_context(services.mlflow(artifacts, TAGS)))
        )
        airflow_internals.new_database(bundle)
        yield
