"""Whole runs whose Spark jobs are steps of a cluster of the run's own: the API is moto's, the jobs are stand-ins."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from airflow.sdk import DAG

from contract.emr import Emr, JobFlow
from contract.platform import Platform
from contract.spark import Spark
from contract.store.factory import store_at
from plugins.retraining.catalog import ModelFiles, load_model_and_platform
from plugins.retraining.dag import build_dag
from plugins.retraining.engines import engine_for
from plugins.retraining.operators import base
from tests.plugins import airflow_internals as internals
from tests.plugins import aws as stand_in
from tests.plugins.aws import BUCKET, JOB_FLOW, Aws, states
from tests.plugins.runner import Run, start
from tests.release.fake_controller import FakeController

pytestmark = pytest.mark.integration  # a stand-in of AWS with processes of its own: minutes

DUE = datetime(2013, 6, 15, 6, tzinfo=UTC)
ORDER = ("freeze_run", "cluster", "validate", "train", "compare", "decide", "package", "check", "release")


@pytest.fixture(scope="module")
def aws(tmp_path_factory) -> Iterator[Aws]:
    programs, nodes = tmp_path_factory.mktemp("programs"), tmp_path_factory.mktemp("nodes")
    with stand_in.running(programs, nodes) as aws:
        stand_in.write_programs(programs, nodes, aws)
        yield aws


@pytest.fixture
def dag_of(airflow: None, bundle: Path, aws: Aws, tmp_path, monkeypatch) -> Callable[..., tuple[DAG, str]]:
    """The model `late` on a platform with EMR, and its store."""
    monkeypatch.setattr(base.WaitingStep, "poke_s", 0.1)
    monkeypatch.setattr(base.CheckStep, "patience_s", 0)
    python = str(stand_in.environment(tmp_path / "env"))

    def make(behaviour: str = "well") -> tuple[DAG, str]:
        model, platform = load_model_and_platform(bundle / "dags" / "models" / "late.yaml")
        emr = Emr(job_flow=JobFlow.model_validate(JOB_FLOW))
        spark = Spark(engine="emr", connection="aws_test", python=python, emr=emr, conf={"spark.standIn": behaviour})
        return synced(model, platform.model_copy(update={"spark": spark}), tmp_path)

    return make


def synced(model: ModelFiles, platform: Platform, folder: Path) -> tuple[DAG, str]:
    """A DAG that Airflow's database knows, and the store of its own that its platform has now."""
    store, name = f"s3://{BUCKET}/{uuid.uuid4().hex}", f"{model.spec.name}_{uuid.uuid4().hex[:6]}"
    model = replace(model, spec=model.spec.model_copy(update={"name": name}))
    dag = build_dag(model, platform.model_copy(update={"store": store}), engine_for)
    dag.fileloc = dag.relative_fileloc = f"{name}.py"
    internals.add_dag(dag, folder)
    return dag, store


def play(dag: DAG, store: str, due: datetime = DUE, **patience: float) -> Run:
    return start(dag, FakeController(store_at(store)).reconcile, due=due).go(**patience)


def test_the_cluster_is_made_before_the_jobs_and_ended_after_them(dag_of, aws):
    dag, _ = dag_of()
    cluster, end = dag.get_task("cluster"), dag.get_task("end_cluster")

    assert [list(dag.get_task(name).downstream_task_ids - {"end_cluster"}) for name in ORDER] == [[name] for name in ORDER[1:]] + [
        []
    ]
    assert (cluster.is_setup, end.is_teardown, end.on_failure_fail_dagrun) == (True, True, False)
    assert end.upstream_task_ids == {"cluster", "compare"}


def test_a_whole_run_on_emr_goes_live_and_leaves_no_cluster(dag_of, aws):
    before = set(states(aws))

    run = play(*dag_of())

    assert (run.state, run.states()) == ("success", dict.fromkeys((*ORDER, "end_cluster"), "success"))
    made = {id: state for id, state in states(aws).items() if id not in before}
    assert made == {run.xcom("cluster"): "TERMINATED"}
    steps = aws.client("emr").list_steps(ClusterId=run.xcom("cluster"))["Steps"]
    assert [step["Name"].split()[1] for step in steps] == ["validate+train+compare"]
    assert {step["Status"]["State"] for step in steps} == {"COMPLETED"}


def test_a_run_whose_job_fails_has_failed_and_leaves_no_cluster_either(dag_of, aws):
    run = play(*dag_of("bad data"))

    assert run.state == "failed"
    assert (run.states()["validate"], run.states()["compare"], run.states()["end_cluster"]) == (
        "failed",
        "upstream_failed",
        "success",
    )
    assert states(aws)[run.xcom("cluster")] == "TERMINATED"


def test_clearing_a_job_makes_a_cluster_anew_and_ends_it_again(dag_of, aws):
    run = play(*dag_of("bad data"))
    first = run.xcom("cluster")

    run.clear("validate").go()

    assert run.states()["end_cluster"] == "success"
    assert run.xcom("cluster") != first
    assert states(aws)[run.xcom("cluster")] == "TERMINATED"


def test_a_cluster_that_is_refused_is_requested_again_by_the_next_try(dag_of, aws):
    aws.fail("RunJobFlow", "ValidationException", message="Subnet subnet-0a1b does not exist")

    run = play(*dag_of("bad data"))

    assert (run.tries()["cluster"], run.states()["cluster"]) == (2, "success")


def test_a_cluster_that_is_refused_three_times_fails_the_run(dag_of, aws):
    aws.fail("RunJobFlow", "ValidationException", times=3, message="Subnet subnet-0a1b does not exist")

    run = play(*dag_of("bad data"))

    assert (run.state, run.tries()["cluster"]) == ("failed", 3)
    assert (run.states()["cluster"], run.states()["validate"]) == ("failed", "upstream_failed")
