"""What Airflow says to MLflow about a version: the verdict on it, as tags and as a page for people."""

import os
from datetime import UTC

from contract.comparison import Verdict
from contract.documents import Training
from plugins.retraining.errors import EngineTrouble

PAGE = "verdict.html"
LONGEST_TAG = 4_500  # MLflow refuses tags beyond 5,000 bytes


def record_verdict(url: str, model: str, training: Training, verdict: Verdict, page: str) -> str:
    """Address of the page in MLflow. A retry writes the same again. Raises EngineTrouble."""
    be_impatient()
    from mlflow import MlflowClient  # seconds: the task pays them, the parser does not
    from mlflow.exceptions import MlflowException

    client = MlflowClient(url, url)
    try:
        for name, value in tags_of(verdict).items():
            client.set_model_version_tag(model, str(training.version), name, value[:LONGEST_TAG])
            client.set_tag(training.mlflow_run, name, value[:LONGEST_TAG])
        client.log_text(training.mlflow_run, page, PAGE)
    except MlflowException as error:
        reason = str(error).partition("\n")[0][:300]
        raise EngineTrouble(f"the verdict on version {training.version} was not written to MLflow at {url}: {reason}") from error
    return f"{training.mlflow_url}/artifacts/{PAGE}"


def tags_of(verdict: Verdict) -> dict[str, str]:
    found = {"verdict": verdict.decision, "verdict.reason": verdict.reason}
    if verdict.approval:
        approval = verdict.approval
        found |= {"approval": "yes" if approval.approved else "no", "approval.by": approval.by, "approval.reason": approval.reason}
        found["approval.at"] = approval.at.astimezone(UTC).isoformat(timespec="seconds")
    return found


def be_impatient() -> None:
    """Airflow retries the task; MLflow's own default takes minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
