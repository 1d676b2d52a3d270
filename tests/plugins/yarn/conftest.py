import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.spark import Driver, Executor, Spark
from contract.store.base import Store
from contract.store.factory import store_at
from tests import jvm
from tests.hadoop_cluster import Cluster, running
from tests.plugins.late import late_run
from tests.plugins.yarn.task import Task

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("pydantic", "annotated_types", "typing_extensions", "typing_inspection", "yaml", "_yaml", "requests", "urllib3", "idna")
PACKAGES += ("certifi", "charset_normalizer", "tenacity")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("hadoop"), nodes=2) as cluster:
        before = dict(os.environ)
        extra = {"deploy-mode": "cluster", "yarn_resourcemanager_webapp_address": cluster.rm_url}
        os.environ["AIRFLOW_CONN_SPARK_YARN"] = json.dumps({"conn_type": "spark", "host": "yarn", "extra": extra})
        os.environ["HADOOP_CONF_DIR"] = str(cluster.conf)
        yield cluster
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="session")
def small_environment(tmp_path_factory) -> Path:
    """Spark's, with what the stand-in needs: a node without Hadoop's native library takes a minute for the whole of it."""
    real, home = ROOT / ".venv/spark", tmp_path_factory.mktemp("environment")
    packages = "lib/python3.11/site-packages"
    (home / "bin").mkdir()
    (home / packages).mkdir(parents=True)
    for path in (real / "bin").glob("python*"):
        shutil.copy(path, home / "bin", follow_symlinks=False)
    for name in PACKAGES:
        for path in (real / packages).glob(f"{name}*"):
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, home / packages / path.name)
    for name in ("pyspark", "py4j"):
        (home / packages / name).symlink_to(real / packages / name)
    (home / "bin/spark-submit").symlink_to(real / "bin/spark-submit")
    shutil.copy(real / "pyvenv.cfg", home)
    (home / "requirements.lock").write_text("\n".join(PACKAGES))
    return home / "bin/python"


@pytest.fixture(scope="session")
def shared_store(cluster) -> Store:
    """Of all tests, each with a run of its own: Spark's jars are uploaded once, and unpacked once by each node."""
    return store_at(f"{cluster.fs}/store")


@pytest.fixture
def task(cluster, bundle, small_environment, shared_store) -> Iterator[Callable[..., Task]]:
    made: list[Task] = []

    def make(behaviour: str = "well", **given) -> Task:
        spark = Spark(
            engine="yarn",
            connection="spark_yarn",
            python=str(small_environment),
            hadoop_conf=str(cluster.conf),
            driver=Driver(memory="512m"),
            executor=Executor(memory="512m", instances=1),
            conf={"spark.yarn.appMasterEnv.STAND_IN": behaviour, **jvm.ON_CLUSTER, **given.pop("conf", {})},
        ).model_copy(update=given)
        run = late_run(bundle, shared_store, spark, "manual__1").model_copy(update={"folder": f"runs/late/{uuid.uuid4().hex[:8]}"})
        made.append(Task(cluster, shared_store, run))
        return made[-1]

    yield make
    for task_made in made:
        task_made.go()
        task_made.stop_all()
