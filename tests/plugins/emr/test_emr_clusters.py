"""Clusters of EMR: one that takes no steps, one that died, and those that a run makes for itself and surely ends."""

from collections.abc import Callable

import pytest

from contract.emr import Emr, JobFlow
from plugins.retraining.engines import engine_for
from plugins.retraining.engines.base import Application, EngineAway, store_tag
from plugins.retraining.engines.diagnosis import diagnose
from plugins.retraining.engines.emr_clusters import request_for
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.spark.job_runner import poke
from tests.plugins.aws import JOB_FLOW, states
from tests.plugins.emr.pokes import LOG, MakeTask, engine_of, wait_for
from tests.plugins.late import ALONE

pytestmark = pytest.mark.integration  # a stand-in of AWS with processes of its own: minutes


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("unknown", r"AWS refuses \(ListSteps: InvalidRequestException\): Cluster id 'j-0' is not valid; see the platform's file"),
        ("ended", r"AWS refuses \(AddJobFlowSteps: ValidationException\): A job flow that is shutting down"),
    ],
)
def test_a_cluster_that_takes_no_steps_is_reported(task_maker, aws, state, sentence):
    id = "j-0" if state == "unknown" else aws.cluster()
    if state == "ended":
        aws.client("emr").terminate_job_flows(JobFlowIds=[id])
    make = task_maker("emr", emr=Emr(cluster=id))

    with pytest.raises(EngineTrouble, match=sentence):
        poke(make(), engine_of(make()), ALONE, LOG)


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        ("INSTANCE_FAILURE: Spot instance interruption on the primary node", "AWS reclaimed a spot node"),
        ("BOOTSTRAP_FAILURE: On the master instance, bootstrap action 1 returned 1", "the cluster's bootstrap failed"),
        ("INSTANCE_FLEET_TIMEOUT: not enough spot capacity", "name more instance_types or subnets"),
        (
            "VALIDATION_ERROR: The subnet configuration was invalid",
            "AWS refused the cluster (The subnet configuration was invalid)",
        ),
        ("ALL_STEPS_COMPLETED: idle beyond its auto-termination policy", "terminated after its idle timeout"),
    ],
)
def test_why_a_cluster_died_is_explained_in_one_sentence(reason, meaning):
    ended = Application("j-1/s-1", "ended", f"CANCELLED; the cluster j-1 has ended: TERMINATED_WITH_ERRORS: {reason}")

    assert meaning in str(diagnose("train", ended, []))


@pytest.fixture
def run_with_cluster(task_maker) -> Callable[..., MakeTask]:
    def make(behaviour: str = "well", **given: object) -> MakeTask:
        return task_maker("emr", behaviour, emr=Emr(job_flow=JobFlow.model_validate({**JOB_FLOW, **given})))

    return make


def test_a_runs_cluster_is_made_once_and_ended_with_its_jobs(run_with_cluster, aws):
    make = run_with_cluster("hangs")
    id = engine_of(make()).cluster(LOG).id
    poke(make(), engine_of(make()), ALONE, LOG)

    assert engine_of(make()).cluster(LOG).id == id
    assert [application.id.partition("/")[0] for application in engine_of(make()).find(make().key)] == [id]
    engine_of(make()).end_clusters(LOG)

    assert states(aws)[id] == "TERMINATED"
    assert engine_of(make()).find(make().key)[0].diagnostics == "CANCELLED; the cluster {} has ended: TERMINATED: {}".format(
        id, "USER_REQUEST: Terminated by user request"
    )


def test_a_cluster_whose_making_was_not_heard_of_is_found_and_not_made_twice(run_with_cluster, aws):
    make = run_with_cluster()
    before = set(states(aws))
    aws.fail("RunJobFlow", "InternalFailure", status="500 Internal Server Error", done=True)

    with pytest.raises(EngineAway, match=r"AWS is temporarily unavailable \(RunJobFlow: InternalFailure\)"):
        engine_of(make()).cluster(LOG)
    id = engine_of(make()).cluster(LOG).id

    assert set(states(aws)) - before == {id}


def test_a_cluster_that_nobody_ends_ends_itself(run_with_cluster, aws):
    make = run_with_cluster()
    request = request_for(make().run.platform.spark.emr.job_flow, make().run)
    assert request["AutoTerminationPolicy"] == {"IdleTimeout": 900}

    id = aws.client("emr").run_job_flow(**{**request, "AutoTerminationPolicy": {"IdleTimeout": 1}})["JobFlowId"]

    wait_for(lambda: states(aws)[id] == "TERMINATED", "its end")


def test_a_job_whose_cluster_died_is_done_on_another_one(run_with_cluster, aws):
    make = run_with_cluster("hangs")
    poke(make(), engine_of(make()), ALONE, LOG)
    first = engine_of(make()).cluster(LOG).id
    lost, key = make(), make().key
    aws.client("emr").terminate_job_flows(JobFlowIds=[first])

    with pytest.raises(EngineTrouble, match=rf"validate \({first}/s-\w+\): the cluster was terminated from outside"):
        wait_for(lambda: poke(lost, engine_of(lost), ALONE, LOG).path, "its end")
    poke(make(), engine_of(make()), ALONE, LOG)

    assert make().key != key
    assert engine_of(make()).cluster(LOG).id != first
    engine_of(make()).end_clusters(LOG)


def test_orphans_are_searched_on_every_living_cluster_of_the_store(run_with_cluster):
    make = run_with_cluster("hangs")
    poke(make(), engine_of(make()), ALONE, LOG)

    applications = engine_for(make().run.platform.spark).find(store_tag(make().store.root), live=True)

    assert [application.keys for application in applications] == [[make().key]]
    engine_of(make()).end_clusters(LOG)


def test_spot_and_several_types_are_requested_as_fleets(run_with_cluster):
    make = run_with_cluster()

    primary, core = request_for(make().run.platform.spark.emr.job_flow, make().run)["Instances"]["InstanceFleets"]

    assert (primary["TargetOnDemandCapacity"], primary["TargetSpotCapacity"], "LaunchSpecifications" in primary) == (1, 0, False)
    assert (core["TargetOnDemandCapacity"], core["TargetSpotCapacity"]) == (1, 2)
    assert [config["InstanceType"] for config in core["InstanceTypeConfigs"]] == ["r7i.xlarge", "r6i.xlarge"]
    assert core["LaunchSpecifications"]["SpotSpecification"]["TimeoutAction"] == "SWITCH_TO_ON_DEMAND"
