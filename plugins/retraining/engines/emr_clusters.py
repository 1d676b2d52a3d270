"""An EMR cluster for one run: created once, found by its name, and terminated."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from contract.documents import RunDocument
from contract.emr import Fleet, JobFlow
from plugins.retraining.engines.aws import LOOKBACK, aws_errors
from plugins.retraining.engines.base import Cluster, ClusterPhase, run_tag, store_tag

STARTING = ("STARTING", "BOOTSTRAPPING")
LIVE = (*STARTING, "RUNNING", "WAITING")
SPOT = {
    "SpotSpecification": {
        "TimeoutDurationMinutes": 10,
        "TimeoutAction": "SWITCH_TO_ON_DEMAND",
        "AllocationStrategy": "price-capacity-optimized",
    }
}


def clusters(emr: Any, connection: str, tag: str, live: bool = False) -> list[Cluster]:
    """Clusters with this tag in their name, oldest first."""
    with aws_errors(connection):
        return sorted(
            (_cluster(cluster) for cluster in _summaries(emr, live) if tag in cluster["Name"].split()),
            key=lambda cluster: cluster.created,
        )


def _summaries(emr: Any, live: bool) -> Iterator[dict[str, Any]]:
    states = {"ClusterStates": list(LIVE)} if live else {}
    for page in emr.get_paginator("list_clusters").paginate(CreatedAfter=datetime.now(UTC) - LOOKBACK, **states):
        yield from page["Clusters"]


def describe(emr: Any, connection: str, id: str) -> tuple[Cluster, str]:
    """The cluster and the URI of its logs, empty if it keeps none."""
    with aws_errors(connection):
        answer = emr.describe_cluster(ClusterId=id)["Cluster"]
    return _cluster(answer), (answer.get("LogUri") or "").replace("s3n://", "s3://").rstrip("/")


def _cluster(answer: dict[str, Any]) -> Cluster:
    status = answer["Status"]
    change = status.get("StateChangeReason", {})
    reason = ": ".join(filter(None, (change.get("Code"), change.get("Message"))))
    phase: ClusterPhase = "starting" if status["State"] in STARTING else "ready" if status["State"] in LIVE else "ended"
    return Cluster(answer["Id"], phase, status["State"], reason, status["Timeline"]["CreationDateTime"])


def request_for(flow: JobFlow, run: RunDocument) -> dict[str, Any]:
    """Arguments of RunJobFlow, which has no idempotency token: search for a cluster of this name before."""
    fleets = [_fleet("MASTER", Fleet(instance_types=flow.primary.instance_types, on_demand=1)), _fleet("CORE", flow.core)]
    tags = {**flow.tags, "model": run.model, "run": run_tag(run), "store": store_tag(run.platform.store)}
    return {
        "Name": f"{run.model} {run_tag(run)} {store_tag(run.platform.store)}",
        "ReleaseLabel": flow.release_label,
        "Applications": [{"Name": "Hadoop"}, {"Name": "Spark"}],
        "LogUri": f"{flow.log_uri.rstrip('/')}/",
        "Instances": {
            "InstanceFleets": [*fleets, *([_fleet("TASK", flow.task)] if flow.task else [])],
            "Ec2SubnetIds": list(flow.subnets),
            "KeepJobFlowAliveWhenNoSteps": True,
            "TerminationProtected": False,
        },
        "AutoTerminationPolicy": {"IdleTimeout": int(flow.idle_timeout.total_seconds())},  # terminates it even if Airflow cannot
        "JobFlowRole": flow.job_flow_role,
        "ServiceRole": flow.service_role,
        "StepConcurrencyLevel": 1,
        "VisibleToAllUsers": True,
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }


def _fleet(kind: str, fleet: Fleet) -> dict[str, Any]:
    """Each node counts as one unit of capacity, whatever its type."""
    return {
        "Name": kind.lower(),
        "InstanceFleetType": kind,
        "InstanceTypeConfigs": [{"InstanceType": instance_type, "WeightedCapacity": 1} for instance_type in fleet.instance_types],
        "TargetOnDemandCapacity": fleet.on_demand,
        "TargetSpotCapacity": fleet.spot,
        **({"LaunchSpecifications": SPOT} if fleet.spot else {}),
    }
