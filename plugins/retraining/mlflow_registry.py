"""Writes the verdict on a version to MLflow, as tags and as an HTML page."""

import os
from datetime import UTC

from contract.comparison import Verdict
from contract.documents import Training
from plugins.retraining.errors import EngineTrouble

PAGE = "verdict.html"
LONGEST_TAG = 4_500  # MLflow refuses tags beyond 5,000 bytes


def record_verdict(url: str, model: str, training: Training, verdict: Verdict, page: str) -> str:
    """URL of the page in MLflow. Idempotent. Raises EngineTrouble."""
    limit_mlflow_retries()
    from mlflow import MlflowClient  # takes seconds: not at module level, which the DAG parser reads
    from mlflow.exceptions import MlflowException

    client = MlflowClient(url, url)
    try:
        for name, value in tags_of(verdict).items():
            client.set_model_version_tag(model, str(training.version), name, value[:LONGEST_TAG])
            client.set_tag(training.mlflow_run, name, value[:LONGEST_TAG])
        client.log_text(training.mlflow_run, page, PAGE)
    except MlflowException as error:
        reason = str(error).partition("\n")[0][:300]
        raise EngineTrouble(
            f"the verdict on version {training.version} could not be written to MLflow at {url}: {reason}"
        ) from error
    return f"{training.mlflow_url}/artifacts/{PAGE}"


def tags_of(verdict: Verdict) -> dict[str, str]:
    tags = {"verdict": verdict.decision, "verdict.reason": verdict.reason}
    if verdict.approval:
        approval = verdict.approval
        tags |= {"approval": "yes" if approval.approved else "no", "approval.by": approval.by, "approval.reason": approval.reason}
        tags["approval.at"] = approval.at.astimezone(UTC).isoformat(timespec="seconds")
    return tags


def limit_mlflow_retries() -> None:
    """Airflow retries the task; MLflow's own retries take minutes by default."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
