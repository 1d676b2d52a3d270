"""The links that a task shows in the UI."""

from typing import Any

from airflow.sdk import BaseOperator, BaseOperatorLink

from plugins.retraining import alerts


class DocumentLink(BaseOperatorLink):
    """To the task's XComs, which show its document, because a browser may not reach the store."""

    name = "Document"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        return f"{alerts.run_url(ti_key.dag_id, ti_key.run_id)}/tasks/{ti_key.task_id}/xcom"


class ResultLink(BaseOperatorLink):
    """To a URL that the task sets; empty until then."""

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        return getattr(operator, "link", "")


class ApplicationLink(BaseOperatorLink):
    """To the cluster's page of the job, also while the job runs."""

    name = "Spark application"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        return getattr(operator, "application_link", "")


class MlflowLink(ResultLink):
    name = "MLflow run"


class EndpointLink(ResultLink):
    name = "Live endpoint"
