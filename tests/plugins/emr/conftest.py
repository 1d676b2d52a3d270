from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.spark import Spark
from contract.store.factory import store_at
from plugins.retraining.context import TaskContext
from tests.plugins import aws as stand_in
from tests.plugins.aws import BUCKET, Aws
from tests.plugins.emr.pokes import MakeTask
from tests.plugins.late import late_run


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


@pytest.fixture
def task_maker(bundle, aws, python, tmp_path) -> Callable[..., MakeTask]:
    """A run on the platform, whose jobs behave as set; each call of what it makes is a new poke."""

    def make(engine: str, behaviour: str = "well", **given: object) -> MakeTask:
        store = store_at(f"s3://{BUCKET}/{tmp_path.name}/{behaviour.replace(' ', '-')}")
        spark = Spark(engine=engine, connection="aws_test", python=python, conf={"spark.standIn": behaviour}, **given)
        run = late_run(bundle, store, spark, "manual__2013-06-15T00:00:00+00:00")
        return lambda clear_number=0: TaskContext("validate", run, store, {}, clear_number)

    return make
