"""Jobs on EMR and EMR Serverless: the API is moto's, and a stub of spark-submit starts the stand-in's job for each step."""

import logging
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from contract import documents
from contract.documents import Failure, JobRequest, ValidationReport
from contract.emr import Emr, EmrServerless, JobFlow
from contract.errors import BadData, OutOfTime
from contract.spark import Resources, Spark
from contract.store import store_at
from plugins.retraining import jobs
from plugins.retraining.diagnosis import diagnose
from plugins.retraining.engines import engine_for
from plugins.retraining.engines.base import Application, Engine, EngineAway, Job, Tags, store_tag
from plugins.retraining.engines.emr_clusters import request_for
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.jobs import look, stop
from plugins.retraining.steps import Work
from tests.dags import aws as stand_in
from tests.dags.aws import ACCOUNT, BUCKET, JOB_FLOW, Aws, states
from tests.dags.late import late_run

pytestmark = pytest.mark.integration  # a stand-in of AWS with processes of its own: minutes

LOG = logging.getLogger("retraining.test")
PATIENCE_S = 30
ADD = {"emr": "AddJobFlowSteps", "emr_serverless": "POST /applications/.*/jobruns"}
LIST = {"emr": "ListSteps", "emr_serverless": "GET /applications/.*/jobruns$"}


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def aws(programs, tmp_path_factory) -> Iterator[Aws]:
    nodes = tmp_path_factory.mktemp("nodes")
    with stand_in.running(programs, nodes) as aws:
        stand_in.write_programs(programs, nodes, aws)
        yield aws


@pytest.fixture(autouse=True)
def recovered(aws) -> Iterator[None]:
    yield
    aws.recover()


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> str:
    return str(stand_in.environment(tmp_path_factory.mktemp("environment") / "env"))


MakeWork = Callable[..., Work]


@pytest.fixture
def work(bundle, aws, python, tmp_path) -> Callable[..., MakeWork]:
    """A run on the platform, whose jobs behave as told; each call of what it makes is a new look."""

    def make(engine: str, behaviour: str = "well", **given: object) -> MakeWork:
        store = store_at(f"s3://{BUCKET}/{tmp_path.name}/{behaviour.replace(' ', '-')}")
        spark = Spark(engine=engine, connection="aws_test", python=python, conf={"spark.standIn": behaviour}, **given)
        run = late_run(bundle, store, spark, "manual__2013-06-15T00:00:00+00:00")
        return lambda clear_number=0: Work("validate", run, store, {}, clear_number)

    return make


@pytest.fixture(params=["emr", "emr_serverless"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def task(kind, aws, work) -> Callable[..., MakeWork]:
    """On a cluster or an application of its own."""

    def make(behaviour: str = "well", **given: object) -> MakeWork:
        if kind == "emr":
            return work(kind, behaviour, emr=Emr(cluster=aws.cluster()), **given)
        role = f"arn:aws:iam::{ACCOUNT}:role/jobs"
        serverless = EmrServerless(application=aws.application(), execution_role=role, log_uri=f"s3://{BUCKET}/logs")
        return work(kind, behaviour, emr_serverless=serverless, **given)

    return make


def engine_of(work: Work) -> Engine:
    return engine_for(work.run.platform.spark).of_run(work.run)


def end(make: MakeWork) -> str:
    """Looks as Airflow does, each time by a new engine, until there is a document."""
    return wait_for(lambda: look(make(), engine_of(make()), LOG).path, "the job's document")


def wait_for(found: Callable[[], object], what: str) -> object:
    give_up = time.monotonic() + PATIENCE_S
    while not (value := found()):
        assert time.monotonic() < give_up, f"waited in vain for {what}"
        time.sleep(0.2)
    return value


def job_of(work: Work, claim: int = 0) -> Job:
    request = JobRequest(job="validate", key=work.key, run=work.run)
    return Job(request, documents.write(work.store, work.beside("request"), request), claim, work.run.platform.spark.conf)


def test_a_job_is_submitted_once_found_at_every_look_and_leaves_its_document(task):
    make = task()
    key = make().key

    path = end(make)

    assert path == make().path
    assert make().find(ValidationReport).snapshot.rows == {"parcels": 5}
    found = engine_of(make()).find(key)
    assert [(each.phase, each.key) for each in found] == [("ended", key)]
    assert found[0].said in ("COMPLETED", "SUCCESS")
    assert "console.aws.amazon.com" in found[0].link


def test_a_job_is_found_by_each_of_its_tags_and_by_no_other_ones(task):
    make = task()
    engine, tags = engine_of(make()), Tags.of(job_of(make()).request)
    id = engine.submit(job_of(make()), LOG)

    assert [[each.id for each in engine.find(tag)] for tag in tags] == [[id], [id], [id]]
    assert engine.find("place:0123456789abcdef") == []
    assert tags.store == store_tag(make().store.root)
    wait_for(lambda: engine.state(id).phase == "ended", "its end")
    assert engine.find(tags.store, live=True) == []


def test_a_try_after_a_killed_one_adopts_its_job(task, aws, kind):
    make = task()
    engine_of(make()).submit(job_of(make()), LOG)  # and the worker is dead

    end(make)

    assert len(engine_of(make()).find(make().key)) == 1


def test_a_submission_whose_answer_was_lost_is_not_made_twice(task, aws, kind):
    make = task()
    aws.fail(ADD[kind], "InternalServerError", status="500 Internal Server Error", done=True)

    if kind == "emr":
        with pytest.raises(EngineAway, match=r"AWS does not answer just now \(AddJobFlowSteps: InternalServerError\)"):
            look(make(), engine_of(make()), LOG)
    end(make)

    assert len(engine_of(make()).find(make().key)) == 1


def test_throttling_is_waited_out_and_says_nothing_about_the_job(task, aws, kind):
    make = task("hangs")
    look(make(), engine_of(make()), LOG)
    aws.fail(LIST[kind], "ThrottlingException", times=4, message="Rate exceeded")  # as often as botocore tries by itself

    with pytest.raises(EngineAway, match=r"AWS does not answer just now \(\w+: ThrottlingException\)"):
        look(make(), engine_of(make()), LOG)

    assert look(make(), engine_of(make()), LOG).path is None
    assert len(engine_of(make()).find(make().key)) == 1
    assert not make().store.read(make().beside("failed"))
    stop(make(), engine_of(make()))


def test_throttling_now_and_then_is_not_even_seen(task, aws, kind):
    aws.fail(LIST[kind], "ThrottlingException", times=2)

    assert end(task())


def test_expired_credentials_are_told_with_what_to_renew_and_the_job_is_kept(task, aws, kind):
    make = task("hangs")
    look(make(), engine_of(make()), LOG)
    aws.fail(LIST[kind], "ExpiredTokenException", message="The security token included in the request is expired")

    with pytest.raises(EngineAway, match=r"they expired, renew the Airflow connection aws_test"):
        look(make(), engine_of(make()), LOG)

    assert [each.phase for each in engine_of(make()).find(make().key)] in (["queued"], ["running"])
    stop(make(), engine_of(make()))


def test_a_right_that_is_missing_is_told_at_once(task, aws, kind):
    aws.fail(LIST[kind], "AccessDeniedException", message="User: jobs is not authorized to perform: list", times=9)
    make = task()

    with pytest.raises(EngineTrouble, match=r"AccessDeniedException\): User: jobs is not authorized .*; give this right") as caught:
        look(make(), engine_of(make()), LOG)
    assert not isinstance(caught.value, EngineAway)


def test_a_job_that_fails_is_told_in_its_own_words_and_the_next_try_is_another_job(task):
    make = task("bad data")
    first = make()

    with pytest.raises(BadData, match="parcels: 3 of 5 rows have no weight"):
        end(lambda: first)

    assert "no weight" in documents.read(first.store, first.beside("failed"), Failure).reason
    assert make().key != first.key


def test_a_death_without_a_word_is_told_with_the_drivers_last_lines(task):
    make = task("dies")
    first = make()

    with pytest.raises(EngineTrouble, match="WARN something of Spark's"):
        end(lambda: first)


def test_a_stopped_job_ends_and_its_key_is_given_up(task, programs, kind):
    make = task("hangs")
    key = make().key
    look(make(), engine_of(make()), LOG)
    wait_for(lambda: engine_of(make()).find(key)[0].phase == "running", "it runs")

    stop(make(), engine_of(make()))

    wait_for(lambda: engine_of(make()).find(key)[0].phase == "ended", "its end")
    assert engine_of(make()).find(key)[0].said.startswith("CANCELLED")
    assert engine_of(make()).find(key, live=True) == []
    assert make().key != key
    if kind == "emr":  # the step's end does not end its application in YARN
        wait_for(lambda: f"-appTags {key}" in (programs / "yarn.said").read_text(), "the command that ends it")


def test_a_job_that_never_ends_is_ended_at_its_time_limit(task, monkeypatch):
    make = task("hangs")
    key = make().key
    look(make(), engine_of(make()), LOG)
    wait_for(lambda: engine_of(make()).find(key)[0].phase == "running", "it runs")
    monkeypatch.setattr(jobs, "resources_of", lambda work: Resources.model_construct(time_limit=timedelta(seconds=-54)))

    with pytest.raises(OutOfTime, match="validate ran longer than its time limit"):
        wait_for(lambda: look(make(), engine_of(make()), LOG).path, "its end")

    wait_for(lambda: engine_of(make()).find(key)[0].phase == "ended", "its end")


def test_older_jobs_of_this_place_are_stopped_before_a_new_one_begins(task):
    make = task("hangs")
    look(make(), engine_of(make()), LOG)
    older = engine_of(make()).find(make().key)[0]
    cleared = make(clear_number=1)

    look(cleared, engine_of(cleared), LOG)

    wait_for(lambda: engine_of(make()).state(older.id).phase == "ended", "its end")
    stop(cleared, engine_of(cleared))


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("unknown", r"AWS refuses \(ListSteps: InvalidRequestException\): Cluster id 'j-0' is not valid; see the platform's file"),
        ("ended", r"AWS refuses \(AddJobFlowSteps: ValidationException\): A job flow that is shutting down"),
    ],
)
def test_a_cluster_that_takes_no_steps_is_told(work, aws, state, sentence):
    id = "j-0" if state == "unknown" else aws.cluster()
    if state == "ended":
        aws.client("emr").terminate_job_flows(JobFlowIds=[id])
    make = work("emr", emr=Emr(cluster=id))

    with pytest.raises(EngineTrouble, match=sentence):
        look(make(), engine_of(make()), LOG)


def test_a_connection_that_is_missing_is_told_and_nobody_elses_credentials_are_taken(task):
    work = task()()
    spark = work.run.platform.spark.model_copy(update={"connection": "aws_absent"})

    with pytest.raises(EngineTrouble, match=r"there is no Airflow connection aws_absent: add it \(type aws\)"):
        engine_for(spark).find(work.key)


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("INSTANCE_FAILURE: Spot instance interruption on the primary node", "AWS reclaimed a spot node"),
        ("BOOTSTRAP_FAILURE: On the master instance, bootstrap action 1 returned 1", "the cluster's bootstrap failed"),
        ("INSTANCE_FLEET_TIMEOUT: not enough spot capacity", "name more instance_types or subnets"),
        (
            "VALIDATION_ERROR: The subnet configuration was invalid",
            "AWS refused the cluster (The subnet configuration was invalid)",
        ),
        ("ALL_STEPS_COMPLETED: idle beyond its auto-termination policy", "ended itself after its idle timeout"),
    ],
)
def test_why_a_cluster_died_is_told_in_one_sentence(said, meaning):
    ended = Application("j-1/s-1", "ended", f"CANCELLED; the cluster j-1 has ended: TERMINATED_WITH_ERRORS: {said}")

    assert meaning in str(diagnose("train", ended, []))


@pytest.fixture
def run_with_cluster(work) -> Callable[..., MakeWork]:
    def make(behaviour: str = "well", **given: object) -> MakeWork:
        return work("emr", behaviour, emr=Emr(job_flow=JobFlow.model_validate({**JOB_FLOW, **given})))

    return make


def test_a_runs_cluster_is_made_once_and_ended_with_its_jobs(run_with_cluster, aws):
    make = run_with_cluster("hangs")
    id = engine_of(make()).cluster(LOG).id
    look(make(), engine_of(make()), LOG)

    assert engine_of(make()).cluster(LOG).id == id
    assert [each.id.partition("/")[0] for each in engine_of(make()).find(make().key)] == [id]
    engine_of(make()).end_clusters(LOG)

    assert states(aws)[id] == "TERMINATED"
    assert engine_of(make()).find(make().key)[0].said == "CANCELLED; the cluster {} has ended: TERMINATED: {}".format(
        id, "USER_REQUEST: Terminated by user request"
    )


def test_a_cluster_whose_making_was_not_heard_of_is_found_and_not_made_twice(run_with_cluster, aws):
    make = run_with_cluster()
    before = set(states(aws))
    aws.fail("RunJobFlow", "InternalFailure", status="500 Internal Server Error", done=True)

    with pytest.raises(EngineAway, match=r"AWS does not answer just now \(RunJobFlow: InternalFailure\)"):
        engine_of(make()).cluster(LOG)
    id = engine_of(make()).cluster(LOG).id

    assert set(states(aws)) - before == {id}


def test_a_cluster_that_nobody_ends_ends_itself(run_with_cluster, aws):
    make = run_with_cluster()
    asked = request_for(make().run.platform.spark.emr.job_flow, make().run)
    assert asked["AutoTerminationPolicy"] == {"IdleTimeout": 900}

    id = aws.client("emr").run_job_flow(**{**asked, "AutoTerminationPolicy": {"IdleTimeout": 1}})["JobFlowId"]

    wait_for(lambda: states(aws)[id] == "TERMINATED", "its end")


def test_a_job_whose_cluster_died_is_done_on_another_one(run_with_cluster, aws):
    make = run_with_cluster("hangs")
    look(make(), engine_of(make()), LOG)
    first = engine_of(make()).cluster(LOG).id
    lost, key = make(), make().key
    aws.client("emr").terminate_job_flows(JobFlowIds=[first])

    with pytest.raises(EngineTrouble, match=rf"validate \({first}/s-\w+\): the cluster was ended from outside"):
        wait_for(lambda: look(lost, engine_of(lost), LOG).path, "its end")
    look(make(), engine_of(make()), LOG)

    assert make().key != key
    assert engine_of(make()).cluster(LOG).id != first
    engine_of(make()).end_clusters(LOG)


def test_leftovers_are_looked_for_on_every_living_cluster_of_the_store(run_with_cluster):
    make = run_with_cluster("hangs")
    look(make(), engine_of(make()), LOG)

    found = engine_for(make().run.platform.spark).find(store_tag(make().store.root), live=True)

    assert [each.key for each in found] == [make().key]
    engine_of(make()).end_clusters(LOG)


def test_spot_and_several_types_are_asked_for_as_fleets(run_with_cluster):
    make = run_with_cluster()

    primary, core = request_for(make().run.platform.spark.emr.job_flow, make().run)["Instances"]["InstanceFleets"]

    assert (primary["TargetOnDemandCapacity"], primary["TargetSpotCapacity"], "LaunchSpecifications" in primary) == (1, 0, False)
    assert (core["TargetOnDemandCapacity"], core["TargetSpotCapacity"]) == (1, 2)
    assert [each["InstanceType"] for each in core["InstanceTypeConfigs"]] == ["r7i.xlarge", "r6i.xlarge"]
    assert core["LaunchSpecifications"]["SpotSpecification"]["TimeoutAction"] == "SWITCH_TO_ON_DEMAND"
