"""Spark as job runs of an EMR Serverless application.

An application is found by its job run's name, which contains the tags. The key and claim of its first job form the client token, by
which AWS answers a repeated submission with the first one's job run.
"""

import math
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from contract.documents import RunDocument
from contract.emr import EmrServerless
from contract.spark import Spark, merged
from contract.store.factory import store_at
from plugins.retraining.engines.artifact_staging import ON_NODES, PYTHON, ship_code, ship_environment, ship_run
from plugins.retraining.engines.aws import LOOKBACK, allocation, aws_errors, client, last_lines, log_text
from plugins.retraining.engines.base import Application, Engine, Phase, Submission
from plugins.retraining.task_log import Log

QUEUED = ("SUBMITTED", "PENDING", "SCHEDULED", "QUEUED")
LIVE = (*QUEUED, "RUNNING", "CANCELLING")
SHORTEST_MIN = 5  # AWS's minimum


class EmrServerlessEngine(Engine):
    waits_in_task, carries_run = False, True

    def __init__(self, spark: Spark, serverless: EmrServerless) -> None:
        self.spark, self.serverless = spark, serverless

    def find(self, tag: str, live: bool = False) -> list[Application]:
        with aws_errors(self.spark.connection):
            job_runs = [job_run for job_run in self._job_runs(live) if tag in job_run.get("name", "").split()]
        return [self.state(job_run["id"]) for job_run in sorted(job_runs, key=lambda job_run: job_run["createdAt"])]

    def submit(self, submission: Submission, log: Log) -> str:
        arguments = self.request(submission, log)
        with aws_errors(self.spark.connection):
            id: str = self._client.start_job_run(**arguments)["jobRunId"]
        return id

    def state(self, id: str) -> Application:
        with aws_errors(self.spark.connection):
            return self._application(self._client.get_job_run(applicationId=self.serverless.application, jobRunId=id)["jobRun"])

    def stop(self, id: str) -> None:
        if self.state(id).phase != "ended":
            with aws_errors(self.spark.connection):
                self._client.cancel_job_run(applicationId=self.serverless.application, jobRunId=id)

    def logs(self, id: str) -> list[str]:
        folder = f"{self.serverless.log_uri.rstrip('/')}/applications/{self.serverless.application}/jobs/{id}/SPARK_DRIVER"
        return [line for name in ("stderr", "stdout") for line in last_lines(log_text(self._s3, f"{folder}/{name}.gz"))]

    def request(self, submission: Submission, log: Log) -> dict[str, Any]:
        run, first = submission.run, submission.jobs[0]
        readable = {"model": run.model, "steps": submission.steps, "run": run.run_id}
        return {
            "applicationId": self.serverless.application,
            "clientToken": f"{first.request.key}-{first.claim}",
            "executionRoleArn": self.serverless.execution_role,
            "name": " ".join((submission.name, *submission.tags)),
            "tags": {"key": first.request.key, **{name: _tag_value(value) for name, value in readable.items()}},
            "executionTimeoutMinutes": longest_min(run) * len(submission.jobs),
            "jobDriver": {
                "sparkSubmit": {
                    "entryPoint": ship_run(store_at(run.platform.store)),
                    "entryPointArguments": submission.arguments,
                    "sparkSubmitParameters": self._parameters(submission, log),
                }
            },
            "configurationOverrides": {
                "monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": f"{self.serverless.log_uri.rstrip('/')}/"}}
            },
        }

    def _parameters(self, submission: Submission, log: Log) -> str:
        store = store_at(submission.run.platform.store)
        environment = ship_environment(store, self.spark.python, log, self.serverless.python)
        conf = {
            **allocation(submission.settings, self.spark.limits),
            **{name: value for name, value in submission.settings.items() if not name.startswith("spark.yarn.")},  # no YARN here
            **{f"spark.emr-serverless.driverEnv.{name}": value for name, value in ON_NODES.items()},
            "spark.executorEnv.PYSPARK_PYTHON": PYTHON,
            "spark.archives": f"{environment}#environment",
            "spark.submit.pyFiles": ship_code(store),
        }
        return shlex.join(part for name, value in conf.items() for part in ("--conf", f"{name}={value}"))

    @cached_property
    def _client(self) -> Any:
        return client("emr-serverless", self.spark.connection)

    @cached_property
    def _s3(self) -> Any:
        return client("s3", self.spark.connection)

    def _job_runs(self, live: bool) -> Iterator[dict[str, Any]]:
        arguments = {"applicationId": self.serverless.application, "createdAtAfter": datetime.now(UTC) - LOOKBACK}
        for page in self._client.get_paginator("list_job_runs").paginate(**arguments, **({"states": list(LIVE)} if live else {})):
            yield from page["jobRuns"]

    def _application(self, job_run: dict[str, Any]) -> Application:
        state = job_run["state"]
        phase: Phase = "queued" if state in QUEUED else "running" if state in LIVE else "ended"
        began, ended = job_run.get("startedAt"), job_run.get("endedAt") or datetime.now(UTC)
        return Application(
            id=job_run["jobRunId"],
            phase=phase,
            diagnostics=": ".join(filter(None, (state, job_run.get("stateDetails")))),
            seconds=(ended - began).total_seconds() if began else 0.0,
            link=self._link(job_run["jobRunId"]),
            vcpu_hours=job_run.get("totalResourceUtilization", {}).get("vCPUHour"),
            tags=frozenset(job_run.get("name", "").split()),
        )

    def _link(self, id: str) -> str:
        """Link to its logs, because the URL of the console's page, which contains a Studio's id, is unknown."""
        from airflow.providers.amazon.aws.links.emr import EmrServerlessS3LogsLink

        meta = self._client.meta
        return EmrServerlessS3LogsLink().format_link(
            aws_domain=EmrServerlessS3LogsLink.get_aws_domain(meta.partition),
            region_name=meta.region_name,
            log_uri=self.serverless.log_uri,
            application_id=self.serverless.application,
            job_run_id=id,
        )


def longest_min(run: RunDocument) -> int:
    """For each job of a job run the minutes after which AWS cancels it if it does not end itself, even without Airflow."""
    limit = merged(run.platform.spark, run.spec.spark).time_limit or run.spec.deadline
    return max(SHORTEST_MIN, math.ceil((1.1 * limit.total_seconds() + 60) / 60))


def _tag_value(value: str) -> str:
    return re.sub(r"[^A-Za-z0-9 /_.:=+@-]", "-", value)[:256]
