"""Spark as steps of an EMR cluster, an existing one or the run's own. The cluster runs spark-submit; this builds its command.

A job is found by its step's name, which contains the tags. The id of an application is CLUSTER/STEP.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Any

from contract.documents import RunDocument
from contract.emr import Emr
from contract.spark import Spark
from contract.store.factory import store_at
from plugins.retraining.engines.artifact_staging import ON_NODES, PYTHON, ship_code, ship_environment, ship_run
from plugins.retraining.engines.aws import LOOKBACK, allocation, aws_errors, client, last_lines, log_names, log_text
from plugins.retraining.engines.base import Application, Cluster, ClusterEngine, Phase, Submission, run_tag
from plugins.retraining.engines.emr_clusters import clusters, describe, request_for
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.task_log import Log

LIVE = ("PENDING", "RUNNING", "CANCEL_PENDING")
LOGS_WITHIN = timedelta(minutes=6)  # EMR copies them to S3 every five minutes
APPLICATION = re.compile(r"application_\d+_\d+")
DRIVERS = re.compile(r"_000001/(stderr|stdout)\.gz$")  # YARN's first container of an application
# Cancelling a step ends its spark-submit only; its YARN application, which contains the driver, would continue.
END = (
    "yarn application -list -appStates NEW,NEW_SAVING,SUBMITTED,ACCEPTED,RUNNING -appTags {key}"
    " | grep -o '^application_[0-9_]*' | xargs -r -n 1 yarn application -kill"
)


class EmrEngine(ClusterEngine):
    waits_in_task, carries_run = False, True

    def __init__(self, spark: Spark, emr: Emr, run: RunDocument | None = None) -> None:
        self.spark, self.emr, self.run = spark, emr, run

    def of_run(self, run: RunDocument) -> "EmrEngine":
        return EmrEngine(self.spark, self.emr, run)

    def find(self, tag: str, live: bool = False) -> list[Application]:
        with aws_errors(self.spark.connection):
            matches = [
                (id, step) for id in self._clusters(tag, live) for step in self._steps(id, live) if tag in step["Name"].split()
            ]
        return [
            self._application(*pair) for pair in sorted(matches, key=lambda pair: pair[1]["Status"]["Timeline"]["CreationDateTime"])
        ]

    def submit(self, submission: Submission, log: Log) -> str:
        command = self.command(submission, log)
        id = self.emr.cluster or self.cluster(log).id
        return f"{id}/{self._add(id, ' '.join((submission.name, *submission.tags)), command)}"

    def state(self, id: str) -> Application:
        cluster, step = id.split("/")
        with aws_errors(self.spark.connection):
            return self._application(cluster, self._client.describe_step(ClusterId=cluster, StepId=step)["Step"])

    def stop(self, id: str) -> None:
        cluster, step = id.split("/")
        with aws_errors(self.spark.connection):
            there = self._client.describe_step(ClusterId=cluster, StepId=step)["Step"]
            if there["Status"]["State"] in LIVE:
                self._client.cancel_steps(ClusterId=cluster, StepIds=[step], StepCancellationOption="TERMINATE_PROCESS")
        if there["Status"]["State"] == "RUNNING":
            self._add(cluster, f"end of {step}", ["bash", "-c", END.format(key=self._application(cluster, there).keys[0])])

    def logs(self, id: str) -> list[str]:
        """The driver's, which ran in YARN; if it never started, those of its spark-submit."""
        cluster, step = id.split("/")
        submitted, driver = self._written(describe(self._client, self.spark.connection, cluster)[1], cluster, step)
        return driver or submitted

    def cluster(self, log: Log) -> Cluster:
        """The run's own cluster, created if none is alive. A retry after a crash past RunJobFlow finds it by its name."""
        connection, run, flow = self.spark.connection, self.run, self.emr.job_flow
        if run is None or flow is None:
            raise EngineTrouble("only a run on a platform with spark.emr.job_flow has its own cluster")
        if alive := clusters(self._client, connection, run_tag(run), live=True):
            return alive[-1]
        with aws_errors(connection):
            id = self._client_without_retries.run_job_flow(**request_for(flow, run))["JobFlowId"]
        log.info("cluster %s was created for this run: %s", id, self._link(id))
        return self.known(id)

    def known(self, cluster: str) -> Cluster:
        return describe(self._client, self.spark.connection, cluster)[0]

    def end_clusters(self, log: Log) -> None:
        """Terminates all live clusters of this run."""
        for cluster in clusters(self._client, self.spark.connection, run_tag(self.run), live=True) if self.run else ():
            with aws_errors(self.spark.connection):
                self._client.terminate_job_flows(JobFlowIds=[cluster.id])
            log.info(
                "cluster %s terminates, %.0f minutes after its creation",
                cluster.id,
                (datetime.now(UTC) - cluster.created).total_seconds() / 60,
            )

    def command(self, submission: Submission, log: Log) -> list[str]:
        store = store_at(submission.run.platform.store)
        environment = ship_environment(store, self.spark.python, log, self.emr.python)
        driver = {**ON_NODES, "AWS_DEFAULT_REGION": self._client.meta.region_name}  # an instance profile gives a role but no region
        conf = {
            **allocation(submission.settings, self.spark.limits),
            **submission.settings,
            "spark.yarn.tags": ",".join(submission.tags),
            "spark.yarn.maxAppAttempts": "1",  # retries are Airflow's, with a new key
            **{f"spark.yarn.appMasterEnv.{name}": value for name, value in driver.items()},
            "spark.executorEnv.PYSPARK_PYTHON": PYTHON,
        }
        settings = [part for name, value in conf.items() for part in ("--conf", f"{name}={value}")]
        shipped = ["--py-files", ship_code(store), "--archives", f"{environment}#environment"]
        return [
            "spark-submit",
            "--deploy-mode",
            "cluster",
            "--name",
            submission.name,
            *settings,
            *shipped,
            ship_run(store),
            *submission.arguments,
        ]

    @cached_property
    def _client(self) -> Any:
        return client("emr", self.spark.connection)

    @cached_property
    def _client_without_retries(self) -> Any:
        """For calls that are not idempotent: after a lost answer the result is found by its name instead."""
        return client("emr", self.spark.connection, tries=1)

    @cached_property
    def _s3(self) -> Any:
        return client("s3", self.spark.connection)

    def _clusters(self, tag: str, live: bool) -> list[str]:
        """A cluster's name contains the tags of its run and store. Includes ended ones: a job may have ended with its cluster."""
        if self.emr.cluster:
            return [self.emr.cluster]
        named = run_tag(self.run) if self.run else tag
        return [cluster.id for cluster in clusters(self._client, self.spark.connection, named, live)]

    def _steps(self, cluster: str, live: bool) -> Iterator[dict[str, Any]]:
        """Newest first, as EMR lists them."""
        since, states = datetime.now(UTC) - LOOKBACK, {"StepStates": list(LIVE)} if live else {}
        for page in self._client.get_paginator("list_steps").paginate(ClusterId=cluster, **states):
            recent = [step for step in page["Steps"] if step["Status"]["Timeline"]["CreationDateTime"] > since]
            yield from recent
            if not live and len(recent) < len(page["Steps"]):
                return

    def _add(self, cluster: str, name: str, command: list[str]) -> str:
        jar = {"Jar": "command-runner.jar", "Args": command}
        with aws_errors(self.spark.connection):
            steps = [{"Name": name, "ActionOnFailure": "CONTINUE", "HadoopJarStep": jar}]
            ids: list[str] = self._client_without_retries.add_job_flow_steps(JobFlowId=cluster, Steps=steps)["StepIds"]
        return ids[0]

    def _application(self, cluster: str, step: dict[str, Any]) -> Application:
        status = step["Status"]
        times = status["Timeline"]
        now = datetime.now(UTC)
        phase: Phase = "queued" if status["State"] == "PENDING" else "running" if status["State"] in LIVE else "ended"
        seconds = (
            ((times.get("EndDateTime") or now) - times["StartDateTime"]).total_seconds() if times.get("StartDateTime") else 0.0
        )
        diagnostics = _step_diagnostics(status)
        if status["State"] not in (*LIVE, "COMPLETED"):
            there, logs = describe(self._client, self.spark.connection, cluster)
            diagnostics += f"; the cluster {cluster} has ended: {there.state}: {there.reason}" if there.phase == "ended" else ""
            is_fresh = status["State"] == "FAILED" and now - (times.get("EndDateTime") or now) < LOGS_WITHIN
            if is_fresh and logs and not all(self._written(logs, cluster, step["Id"])):
                phase = "running"  # its logs arrive within minutes, and waiting holds no slot
        return Application(
            id=f"{cluster}/{step['Id']}",
            phase=phase,
            diagnostics=diagnostics,
            seconds=seconds,
            link=self._link(cluster),
            vcpu_hours=_vcpus(step.get("Config", {}).get("Args", [])) * seconds / 3600 or None,
            tags=frozenset(step["Name"].split()),
        )

    def _written(self, logs: str, cluster: str, step: str) -> tuple[list[str], list[str]]:
        """The last lines of spark-submit and of the driver; if no driver started, the former twice."""
        submitted = log_text(self._s3, f"{logs}/{cluster}/steps/{step}/stderr.gz")
        began = APPLICATION.search(submitted)
        if not began:
            return (last_lines(submitted),) * 2
        names = [name for name in log_names(self._s3, f"{logs}/{cluster}/containers/{began[0]}") if DRIVERS.search(name)]
        driver = [line for name in sorted(names) for line in last_lines(log_text(self._s3, name))]
        return last_lines(submitted), driver

    def _link(self, cluster: str) -> str:
        from airflow.providers.amazon.aws.links.emr import EmrClusterLink

        meta = self._client.meta
        domain = EmrClusterLink.get_aws_domain(meta.partition)
        return EmrClusterLink().format_link(aws_domain=domain, region_name=meta.region_name, job_flow_id=cluster)


def _step_diagnostics(status: dict[str, Any]) -> str:
    reason, failure = status.get("StateChangeReason") or {}, status.get("FailureDetails") or {}
    parts = (reason.get("Message"), failure.get("Reason"), failure.get("Message"))
    return ": ".join(filter(None, (status["State"], *parts)))


def _vcpus(command: list[str]) -> int:
    """The most vCPUs that spark-submit may use; 0 if the cluster decides that."""
    conf = dict(part.split("=", 1) for flag, part in pairwise(command) if flag == "--conf" and "=" in part)
    executors = conf.get("spark.dynamicAllocation.maxExecutors") or conf.get("spark.executor.instances")
    cores = conf.get("spark.executor.cores")
    return int(conf.get("spark.driver.cores", 1)) + int(executors) * int(cores) if executors and cores else 0
