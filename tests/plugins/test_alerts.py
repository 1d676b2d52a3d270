"""Messages reach people through real sockets, and never get in a run's way."""

import logging
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowSensorTimeout

from contract.emr import Emr, JobFlow
from contract.errors import StoreError
from plugins.retraining import alerts
from plugins.retraining.alerts import Audience, Message
from plugins.retraining.catalog import load_model_and_platform
from plugins.retraining.dag import build_dag
from plugins.retraining.engines import engine_for
from plugins.retraining.errors import Stopped
from tests.plugins import airflow_internals as internals
from tests.plugins.aws import JOB_FLOW

PEOPLE = ("a@x.org", "b@x.org")
AUDIENCE = Audience(model="late", slack="slack_test", smtp="smtp_test", sender="retraining@example.com", email=PEOPLE)
MESSAGE = Message("late: version 7 is live", "log_loss < 0.3 & falling")


def test_slack_and_mail_get_the_same_words(inbox):
    alerts.send(AUDIENCE, MESSAGE)

    assert inbox.slack == ["*late: version 7 is live*\nlog_loss < 0.3 & falling"]
    assert [(mail.to, mail.subject, mail.body.strip()) for mail in inbox.mail] == [
        ("a@x.org, b@x.org", "late: version 7 is live", "<pre>log_loss &lt; 0.3 &amp; falling</pre>")
    ]


@pytest.mark.parametrize(("slack", "mail"), [(None, "smtp_test"), ("slack_test", None), (None, None)])
def test_only_configured_channels_are_used(inbox, slack, mail):
    alerts.send(AUDIENCE.model_copy(update={"slack": slack, "smtp": mail}), MESSAGE)

    assert (len(inbox.slack), len(inbox.mail)) == (int(slack is not None), int(mail is not None))


def test_the_spec_names_the_people_and_the_platform_the_connections(bundle):
    model, platform = load_model_and_platform(bundle / "dags" / "models" / "late.yaml")
    by_slack_only = model.spec.model_copy(update={"alerts": model.spec.alerts.model_copy(update={"email": ()})})

    assert alerts.audience_of(model.spec, platform) == Audience(
        model="late", slack="slack_test", smtp="smtp_test", sender="retraining@example.com", email=("parcels@example.com",)
    )
    assert alerts.audience_of(by_slack_only, platform).smtp is None


def test_each_task_whose_failure_is_sent_says_what_to_do(bundle):
    model, platform = load_model_and_platform(bundle / "dags" / "models" / "late.yaml")
    emr = Emr(job_flow=JobFlow.model_validate(JOB_FLOW))
    spark = platform.spark.model_copy(update={"engine": "emr", "emr": emr})

    tasks = build_dag(model, platform.model_copy(update={"spark": spark}), engine_for).tasks

    assert {task.task_id for task in tasks if task.on_failure_callback} == set(alerts.ADVICE)
    assert {task.task_id for task in tasks} == {*alerts.ADVICE, "end_cluster"}  # which its idle timeout does, too


def test_one_way_that_fails_is_logged_without_its_secrets_and_the_other_still_goes(inbox, caplog, monkeypatch):
    url = "http://127.0.0.1:1/services"
    monkeypatch.setenv("AIRFLOW_CONN_SLACK_DEAD", f'{{"conn_type": "slackwebhook", "host": "{url}", "password": "T0/B0/secret"}}')

    with caplog.at_level(logging.WARNING, alerts.log.name):
        alerts.send(AUDIENCE.model_copy(update={"slack": "slack_dead"}), MESSAGE)

    said = [record.getMessage() for record in caplog.records if record.name == alerts.log.name]
    assert said == ["no Slack sent: URLError; check the Airflow connection slack_dead"]
    assert len(inbox.mail) == 1


def test_a_connection_that_is_missing_is_logged_too(inbox, caplog):
    with caplog.at_level(logging.WARNING, alerts.log.name):
        alerts.send(AUDIENCE.model_copy(update={"slack": "absent", "smtp": "absent"}), MESSAGE)

    said = [record.getMessage() for record in caplog.records if record.name == alerts.log.name]
    assert [line.partition(":")[0] for line in said] == ["no Slack sent", "no mail sent"]
    assert all(line.endswith("check the Airflow connection absent") for line in said)


def at_deadline(state: str) -> dict:
    run = {"dag_id": "late", "dag_run_id": "manual__2013-06-15T06:00:00+00:00", "state": state}
    return {"dag_run": run, "deadline": {"id": "d", "deadline_time": "2013-06-15T07:30:00Z"}}


@pytest.mark.parametrize(
    ("callback", "text"),
    [
        (
            alerts.deadline_near,
            "*late: deadline near*\nRun {run} has used 80 % of its 90m and is not finished.\n"
            "What to do: read the running task's log; the run continues.\n",
        ),
        (
            alerts.deadline_broken,
            "*late: deadline missed*\nRun {run} is not finished after its 90m; it continues.\n"
            "What to do: read the running task's log.\n",
        ),
    ],
)
def test_a_deadline_is_notified_while_the_run_works_with_a_link_to_it(inbox, callback, text):
    callback(at_deadline("running"), audience=AUDIENCE.model_dump_json(), allowed="90m")

    link = "http://localhost:8080/dags/late/runs/manual__2013-06-15T06%3A00%3A00%2B00%3A00"
    assert inbox.slack == [text.format(run="manual__2013-06-15T06:00:00+00:00") + link]


@pytest.mark.parametrize("state", ["success", "failed"])
@pytest.mark.parametrize("callback", [alerts.deadline_near, alerts.deadline_broken])
def test_a_run_that_has_ended_is_silent_at_its_deadline(inbox, callback, state):
    callback(at_deadline(state), audience=AUDIENCE.model_dump_json(), allowed="90m")

    assert (inbox.slack, inbox.mail) == ([], [])


def test_airflow_stores_and_runs_the_deadlines_callbacks_as_they_are(bundle, inbox):
    """By the path and the plain values that survive in Airflow's database, in the function that its executor calls."""
    from plugins.retraining.dag import dag_for

    near = dag_for(bundle / "dags" / "models" / "late.yaml").deadline[0].callback.serialize()

    done = internals.run_callback(near["path"], {**near["kwargs"], "context": at_deadline("running")})

    assert done == (True, None)
    assert inbox.slack[0].startswith("*late: deadline near*\n")


@pytest.mark.parametrize(
    ("step", "error", "subject", "effect"),
    [
        ("check", Stopped("row 3: 0.9 instead of 0.1"), "stopped at check", alerts.UNTOUCHED),
        ("release", Stopped("version 8 is live"), "stopped at release", alerts.UNTOUCHED),
        ("release", StoreError("the disk is full"), "outcome of release unknown", alerts.UNKNOWN),
        ("release", AirflowSensorTimeout(), "outcome of release unknown", alerts.UNKNOWN),
        ("release", None, "outcome of release unknown", alerts.UNKNOWN),
    ],
)
def test_that_nothing_was_changed_is_said_only_where_it_is_known(inbox, step, error, subject, effect):
    task = SimpleNamespace(task_id=step, log_url="http://airflow/log")

    alerts.on_failure({"ti": task, "exception": error}, AUDIENCE)

    assert inbox.slack[0].startswith(f"*late: {subject}*\n")
    assert effect in inbox.slack[0].splitlines()
