"""EMR: moto's answers are the API; steps are run, and a cluster ends itself after its idle time."""

import threading
import time
from typing import Any

from moto.core.responses import ActionResult
from moto.emr.exceptions import ValidationException
from moto.emr.models import Cluster, ElasticMapReduceBackend, Step, emr_backends
from moto.emr.responses import ElasticMapReduceResponse

from tests.emr_stand_in.machine import APPLICATION, Machine, Running, now

TICK_S = 0.2


class Steps:
    """One after the other on each cluster, which ends itself after its idle time."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.running: dict[str, Running] = {}
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        while True:
            time.sleep(TICK_S)
            for cluster in [
                cluster
                for by_region in emr_backends.values()
                for region in by_region.values()
                for cluster in region.clusters.values()
            ]:
                if cluster.state in ("RUNNING", "WAITING"):
                    self._go_on(cluster)

    def _go_on(self, cluster: Cluster) -> None:
        states = [step.state for step in cluster.steps]
        if "RUNNING" in states:
            return
        if "PENDING" in states:
            step = cluster.steps[states.index("PENDING")]
            step.state, cluster.state = "RUNNING", "RUNNING"
            step.start()
            threading.Thread(target=self._run, args=(cluster, step), daemon=True).start()
            return
        cluster.state = "WAITING"
        idle_since = max([cluster.ready_datetime, *(step.end_date_time for step in cluster.steps if step.end_date_time)])
        allowed = getattr(cluster, "idle_timeout", None)
        if allowed and (now() - idle_since).total_seconds() > allowed:
            self.end(cluster, "ALL_STEPS_COMPLETED", "Cluster was idle beyond its auto-termination policy")

    def _run(self, cluster: Cluster, step: Step) -> None:
        running = self.running[step.id] = self.machine.start(step.args)
        code = running.end()
        output, errors = running.said
        logs = f"{cluster.log_uri.rstrip('/')}/{cluster.id}"
        if step.state == "RUNNING":
            step.state = "FAILED" if code else "COMPLETED"
            step.failure_details = {"Reason": "Unknown Error.", "LogFile": f"{logs}/steps/{step.id}/stderr.gz"} if code else None
        step.end_date_time = now()
        self.machine.put(f"{logs}/steps/{step.id}", {"stderr": errors, "stdout": output})
        for application in dict.fromkeys(APPLICATION.findall(errors)):
            self.machine.put(f"{logs}/containers/{application}", self.machine.driver_says(application))

    def cancel(self, step: Step) -> None:
        """As EMR does: spark-submit with its descendants is killed; what runs in YARN goes on."""
        if step.state in ("PENDING", "RUNNING"):
            step.state = "CANCELLED"
            if step.id in self.running:
                self.running[step.id].kill()

    def end(self, cluster: Cluster, code: str, message: str) -> None:
        """With all that runs on its nodes."""
        cluster.state, cluster.end_datetime = "TERMINATED", now()
        cluster.reason = {"Code": code, "Message": message}
        for step in cluster.steps:
            self.cancel(step)
            if step.id in self.running:
                self.machine.kill_applications(self.running[step.id].said[1])


def install(machine: Machine) -> None:
    """What moto answers at once takes its time here, and what it lacks."""
    steps = Steps(machine)
    run_job_flow, describe_cluster = ElasticMapReduceResponse.run_job_flow, ElasticMapReduceBackend.describe_cluster
    list_steps, describe_step = ElasticMapReduceBackend.list_steps, ElasticMapReduceBackend.describe_step
    step_status, cluster_status = Step.status.fget, Cluster.status.fget

    def run_job_flow_with_policy(self: ElasticMapReduceResponse) -> ActionResult:
        result = run_job_flow(self)
        cluster = self.backend.clusters[result.result["JobFlowId"]]
        cluster.idle_timeout = (self._get_param("AutoTerminationPolicy") or {}).get("IdleTimeout")
        return result

    def add_steps(self: ElasticMapReduceBackend, job_flow_id: str, steps: list[dict[str, Any]]) -> list[Step]:
        cluster = describe_cluster(self, job_flow_id)
        if cluster.state.startswith("TERMINAT"):
            raise ValidationException("A job flow that is shutting down, terminated, or finished may not be modified.")
        added = [Step(state="PENDING", **step) for step in steps]
        cluster.steps += added
        return added

    def cancel_steps(self: ElasticMapReduceResponse) -> ActionResult:
        cluster = self.backend.describe_cluster(self._get_param("ClusterId"))
        for step in cluster.steps:
            if step.id in self._get_param("StepIds"):
                steps.cancel(step)
        return ActionResult({"CancelStepsInfoList": [{"StepId": id, "Status": "SUBMITTED"} for id in self._get_param("StepIds")]})

    ElasticMapReduceResponse.run_job_flow = run_job_flow_with_policy
    ElasticMapReduceResponse.cancel_steps = cancel_steps
    ElasticMapReduceBackend.add_job_flow_steps = add_steps
    ElasticMapReduceBackend.list_steps = lambda self, cluster_id, **given: (
        describe_cluster(self, cluster_id) and list_steps(self, cluster_id, **given)
    )
    ElasticMapReduceBackend.describe_step = lambda self, cluster_id, step_id: (
        describe_cluster(self, cluster_id) and describe_step(self, cluster_id, step_id)
    )
    Cluster.terminate = lambda self: steps.end(self, "USER_REQUEST", "Terminated by user request")
    Step.status = property(lambda self: {**step_status(self), "FailureDetails": getattr(self, "failure_details", None)})
    Cluster.status = property(lambda self: {**cluster_status(self), "StateChangeReason": getattr(self, "reason", {})})
