"""Jobs on EMR and EMR Serverless: the API is moto's, and a stub of spark-submit starts the stand-in's job for each step."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from contract import documents
from contract.documents import Failure, ValidationReport
from contract.emr import Emr, EmrServerless
from contract.errors import BadData, OutOfTime
from contract.spark import Resources
from plugins.retraining.alerts import Audience
from plugins.retraining.engines import engine_for
from plugins.retraining.engines.base import EngineAway, Submission, run_tag, store_tag
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.operators.base import ValidateStep
from plugins.retraining.spark import job_runner
from plugins.retraining.spark.job_runner import poke, prepared
from tests.plugins.aws import ACCOUNT, BUCKET, Aws
from tests.plugins.emr.pokes import LOG, MakeTask, end, engine_of, stop, submission_of, wait_for
from tests.plugins.late import ALONE, WHOLE_RUN

pytestmark = pytest.mark.integration  # a stand-in of AWS with processes of its own: minutes

ADD = {"emr": "AddJobFlowSteps", "emr_serverless": "POST /applications/.*/jobruns"}
LIST = {"emr": "ListSteps", "emr_serverless": "GET /applications/.*/jobruns$"}


@pytest.fixture(params=["emr", "emr_serverless"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def task(kind, aws, task_maker) -> Callable[..., MakeTask]:
    """On a cluster or an application of its own."""

    def make(behaviour: str = "well", **given: object) -> MakeTask:
        if kind == "emr":
            return task_maker(kind, behaviour, emr=Emr(cluster=aws.cluster()), **given)
        return task_maker(kind, behaviour, emr_serverless=serverless_of(aws), **given)

    return make


def serverless_of(aws: Aws) -> EmrServerless:
    role = f"arn:aws:iam::{ACCOUNT}:role/jobs"
    return EmrServerless(application=aws.application(), execution_role=role, log_uri=f"s3://{BUCKET}/logs")


def test_a_job_is_submitted_once_found_at_every_poke_and_leaves_its_document(task):
    make = task()
    key = make().key

    path = end(make)

    assert path == make().path
    assert make().find(ValidationReport).snapshot.rows == {"parcels": 5}
    wait_for(lambda: engine_of(make()).find(key)[0].phase == "ended", "its end, which comes after its document")
    applications = engine_of(make()).find(key)
    assert [application.keys for application in applications] == [[key]]
    assert applications[0].diagnostics in ("COMPLETED", "SUCCESS")
    assert "console.aws.amazon.com" in applications[0].link


def test_a_job_is_found_by_each_of_its_tags_and_by_no_other_ones(task):
    make = task()
    engine, root = engine_of(make()), make().store.root
    tags = [make().key, run_tag(make().run), store_tag(root), "model:late"]
    id = engine.submit(submission_of(make()), LOG)

    assert [[application.id for application in engine.find(tag)] for tag in tags] == [[id], [id], [id], [id]]
    assert engine.find("run:0123456789abcdef") == []
    wait_for(lambda: engine.state(id).phase == "ended", "its end")
    assert engine.find(store_tag(root), live=True) == []


def test_the_jobs_of_a_run_are_one_application_that_is_found_by_each_key(task):
    make = task()
    validate = make()
    poke(validate, engine_of(validate), WHOLE_RUN, LOG)
    tasks = [validate, *validate.later_jobs()]

    for job in tasks:
        assert end(lambda job=job: job) == job.path

    assert len({application.id for job in tasks for application in engine_of(job).find(job.key)}) == 1


def test_serverless_ends_an_application_after_the_sum_of_its_jobs_limits(aws, task_maker):
    validate = task_maker("emr_serverless", "well", emr_serverless=serverless_of(aws))()
    jobs = [validate, *validate.later_jobs()]
    limits = [
        engine_of(validate).request(Submission([prepared(job) for job in jobs[:count]], {}), LOG)["executionTimeoutMinutes"]
        for count in (1, 3)
    ]

    assert limits == [12, 36]  # 1.1 times the deadline of ten minutes and one more


def test_a_try_after_a_killed_one_adopts_its_job(task, aws, kind):
    make = task()
    engine_of(make()).submit(submission_of(make()), LOG)  # and the worker is dead

    end(make)

    assert len(engine_of(make()).find(make().key)) == 1


def test_a_submission_whose_answer_was_lost_is_not_made_twice(task, aws, kind):
    make = task()
    aws.fail(ADD[kind], "InternalServerError", status="500 Internal Server Error", done=True)

    if kind == "emr":
        with pytest.raises(EngineAway, match=r"AWS is temporarily unavailable \(AddJobFlowSteps: InternalServerError\)"):
            poke(make(), engine_of(make()), ALONE, LOG)
    end(make)

    assert len(engine_of(make()).find(make().key)) == 1


def test_throttling_is_waited_out_and_says_nothing_about_the_job(task, aws, kind):
    make = task("hangs")
    poke(make(), engine_of(make()), ALONE, LOG)
    aws.fail(LIST[kind], "ThrottlingException", times=4, message="Rate exceeded")  # as often as botocore tries by itself

    with pytest.raises(EngineAway, match=r"AWS is temporarily unavailable \(\w+: ThrottlingException\)"):
        poke(make(), engine_of(make()), ALONE, LOG)

    assert poke(make(), engine_of(make()), ALONE, LOG).path is None
    assert len(engine_of(make()).find(make().key)) == 1
    assert not make().store.read(make().beside("failed"))
    stop(make())


def test_throttling_now_and_then_is_not_even_seen(task, aws, kind):
    aws.fail(LIST[kind], "ThrottlingException", times=2)

    assert end(task())


def test_expired_credentials_are_reported_with_what_to_renew_and_the_job_is_kept(task, aws, kind):
    make = task("hangs")
    poke(make(), engine_of(make()), ALONE, LOG)
    aws.fail(LIST[kind], "ExpiredTokenException", message="The security token included in the request is expired")

    with pytest.raises(EngineAway, match=r"they expired; renew the Airflow connection aws_test"):
        poke(make(), engine_of(make()), ALONE, LOG)

    assert [application.phase for application in engine_of(make()).find(make().key)] in (["queued"], ["running"])
    stop(make())


def test_a_missing_permission_is_reported_at_once(task, aws, kind):
    aws.fail(LIST[kind], "AccessDeniedException", message="User: jobs is not authorized to perform: list", times=9)
    make = task()

    with pytest.raises(
        EngineTrouble, match=r"AccessDeniedException\): User: jobs is not authorized .*; grant this permission"
    ) as caught:
        poke(make(), engine_of(make()), ALONE, LOG)
    assert not isinstance(caught.value, EngineAway)


def test_a_failed_job_is_reported_with_its_own_reason_and_the_next_try_is_another_job(task):
    make = task("bad data")
    first = make()

    with pytest.raises(BadData, match="parcels: 3 of 5 rows have no weight"):
        end(lambda: first)

    assert "no weight" in documents.read(first.store, first.beside("failed"), Failure).reason
    assert make().key != first.key


def test_a_death_without_a_reason_is_reported_with_the_drivers_last_lines(task):
    make = task("dies")
    first = make()

    with pytest.raises(EngineTrouble, match="WARN something of Spark's"):
        end(lambda: first)


def test_a_stopped_job_ends_with_its_application(task, programs, kind):
    make = task("hangs")
    key = make().key
    poke(make(), engine_of(make()), ALONE, LOG)
    wait_for(lambda: engine_of(make()).find(key)[0].phase == "running", "it runs")

    stop(make())

    wait_for(lambda: engine_of(make()).find(key)[0].phase == "ended", "its end")
    assert engine_of(make()).find(key)[0].diagnostics.startswith("CANCELLED")
    assert engine_of(make()).find(key, live=True) == []
    if kind == "emr":  # the step's end does not end its application in YARN
        wait_for(lambda: f"-appTags {key}" in (programs / "yarn.said").read_text(), "the command that ends it")


def test_a_job_continues_when_airflow_kills_the_process_that_pokes(task):
    make = task("hangs")
    audience = Audience(model="trip_delay", slack=None, smtp=None, sender="", email=())
    step = ValidateStep(task_id="validate", engine_for=engine_for, platform=make().run.platform, audience=audience)
    key = make().key
    assert step.job_state(make(), ALONE, {"task_state_store": {}}).path is None

    step.on_kill()

    assert make().key == key
    assert [application.phase for application in engine_of(make()).find(key)] in (["queued"], ["running"])
    stop(make())


def test_a_job_that_never_ends_is_ended_at_its_time_limit(task, monkeypatch):
    make = task("hangs")
    key = make().key
    poke(make(), engine_of(make()), ALONE, LOG)
    wait_for(lambda: engine_of(make()).find(key)[0].phase == "running", "it runs")
    monkeypatch.setattr(job_runner, "resources_of", lambda task: Resources.model_construct(time_limit=timedelta(seconds=-54)))

    with pytest.raises(OutOfTime, match="validate ran longer than its time limit"):
        wait_for(lambda: poke(make(), engine_of(make()), ALONE, LOG).path, "its end")

    wait_for(lambda: engine_of(make()).find(key)[0].phase == "ended", "its end")


def test_older_applications_of_this_run_are_stopped_before_a_new_one_begins(task):
    make = task("hangs")
    poke(make(), engine_of(make()), ALONE, LOG)
    older = engine_of(make()).find(make().key)[0]
    cleared = make(clear_number=1)

    poke(cleared, engine_of(cleared), ALONE, LOG)

    wait_for(lambda: engine_of(make()).state(older.id).phase == "ended", "its end")
    stop(cleared)


def test_a_missing_connection_is_reported_and_no_other_credentials_are_used(task):
    context = task()()
    spark = context.run.platform.spark.model_copy(update={"connection": "aws_absent"})

    with pytest.raises(EngineTrouble, match=r"the Airflow connection aws_absent does not exist: add it \(type aws\)"):
        engine_for(spark).find(context.key)
