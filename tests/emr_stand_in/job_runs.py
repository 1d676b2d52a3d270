"""EMR Serverless: moto's answers are the API; job runs are run, each token's once."""

import shlex
import threading
from typing import Any

from moto.emrserverless.models import EMRServerlessBackend, JobRun

from tests.emr_stand_in.machine import APPLICATION, Machine, Running, now


class JobRuns:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.running: dict[str, Running] = {}

    def start(self, job_run: JobRun) -> None:
        job_run.state, job_run.created_at = "SUBMITTED", now()
        threading.Thread(target=self._run, args=(job_run,), daemon=True).start()

    def _run(self, job_run: JobRun) -> None:
        job_run.state, job_run.started_at = "RUNNING", now()
        running = self.running[job_run.id] = self.machine.start(command_of(job_run))
        code = running.end()
        job_run.ended_at = job_run.updated_at = now()
        if job_run.state == "RUNNING":
            job_run.state = "FAILED" if code else "SUCCESS"
            job_run.state_details = "Job failed, please check complete logs in configured logging destination." if code else None
        hours = (job_run.ended_at - job_run.started_at).total_seconds() / 3600
        job_run.total_resource_utilization = {"vCPUHour": 4 * hours, "memoryGBHour": 16 * hours, "storageGBHour": 0.0}
        monitoring = job_run.configuration_overrides["monitoringConfiguration"]["s3MonitoringConfiguration"]["logUri"].rstrip("/")
        said = {"stderr": running.said[1], "stdout": running.said[0]}
        for application in APPLICATION.findall(running.said[1])[:1]:
            said |= {name.rpartition("/")[2]: text for name, text in self.machine.driver_says(application).items()}
        self.machine.put(f"{monitoring}/applications/{job_run.application_id}/jobs/{job_run.id}/SPARK_DRIVER", said)

    def cancel(self, job_run: JobRun) -> None:
        if job_run.state in ("SUBMITTED", "RUNNING"):
            job_run.state = "CANCELLED"
            if job_run.id in self.running:
                self.running[job_run.id].kill()


def command_of(job_run: JobRun) -> list[str]:
    """On YARN the driver's variables have another name."""
    request = job_run.job_driver["sparkSubmit"]
    given = shlex.split(request["sparkSubmitParameters"].replace("spark.emr-serverless.driverEnv.", "spark.yarn.appMasterEnv."))
    return ["spark-submit", "--deploy-mode", "cluster", *given, request["entryPoint"], *request["entryPointArguments"]]


def install(machine: Machine) -> None:
    job_runs = JobRuns(machine)
    started: dict[str, JobRun] = {}
    start_job_run, cancel_job_run = EMRServerlessBackend.start_job_run, EMRServerlessBackend.cancel_job_run
    list_job_runs = EMRServerlessBackend.list_job_runs

    def start_once(self: EMRServerlessBackend, **request: Any) -> JobRun:
        if request["client_token"] not in started:
            started[request["client_token"]] = start_job_run(self, **request)
            job_runs.start(started[request["client_token"]])
        return started[request["client_token"]]

    def cancel_run(self: EMRServerlessBackend, application_id: str, job_run_id: str) -> tuple[str, str]:
        job_run = self.get_job_run(application_id, job_run_id)
        state = job_run.state
        cancel_job_run(self, application_id, job_run_id)
        job_run.state = state
        job_runs.cancel(job_run)
        return application_id, job_run_id

    def runs_of(self: EMRServerlessBackend, application_id: str, *given: Any, **named: Any) -> list[JobRun]:
        self.job_runs.setdefault(self.get_application(application_id).id, [])
        return list_job_runs(self, application_id, *given, **named)

    EMRServerlessBackend.start_job_run = start_once
    EMRServerlessBackend.cancel_job_run = cancel_run
    EMRServerlessBackend.list_job_runs = runs_of
