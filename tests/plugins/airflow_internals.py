"""All that the tests use of Airflow's internals, which a new version of Airflow may move: nothing else imports them.

Each is imported when it is used: Airflow reads its settings from the environment at its first import.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

BUNDLE = "dags-folder"
AWAITING_INPUT, UP_FOR_RESCHEDULE, SCHEDULED = "awaiting_input", "up_for_reschedule", "scheduled"
QUEUED, RUNNING = "queued", "running"
# A program that prints the CPU seconds of parsing a file, its DAGs, and the heavy packages that this has imported.
PARSE = """
import sys, time
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, BaseSensorOperator
start = time.process_time()
bag = DagBag({path!r}, bundle_name="dags-folder")
seconds = time.process_time() - start
assert not bag.import_errors, bag.import_errors
heavy = {{"pyspark", "mlflow"}} & set(sys.modules)
print(round(seconds, 2), sorted(bag.dags), sorted(heavy))
"""


def parsed(file: Path) -> Any:
    """The file's DAGs, in `dags`, and `import_errors`."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(file, bundle_name=BUNDLE)


def new_database(bundle: Path) -> None:
    """With the bundle's DAGs in it."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.utils.db import initdb

    initdb()
    DagBundlesManager().sync_bundles_to_db()
    _sync(BundleDagBag(bundle, bundle_path=bundle, bundle_name=BUNDLE))


def add_dag(dag: DAG, folder: Path) -> None:
    """Airflow's database knows it from now on, as if `folder` had its file."""
    from airflow.dag_processing.dagbag import BundleDagBag

    bag = BundleDagBag(folder, bundle_path=folder, bundle_name=BUNDLE)
    bag.bag_dag(dag)
    _sync(bag)


def _sync(bag: Any) -> None:
    from airflow.dag_processing.dagbag import sync_bag_to_db

    sync_bag_to_db(bag, BUNDLE, None)


def reserialized(dag: DAG) -> Any:
    """As the scheduler reads it from the database."""
    from airflow.serialization.serialized_objects import DagSerialization

    return DagSerialization.from_dict(DagSerialization.to_dict(dag))


def dag_files(folder: Path) -> list[str]:
    from airflow.utils.file import list_py_file_paths

    return sorted(list_py_file_paths(folder))


def plugin_files(folder: Path) -> list[str]:
    """What Airflow would import as plugins, after `.airflowignore`."""
    from airflow.sdk._shared.module_loading import find_path_from_directory

    return [path for path in find_path_from_directory(str(folder), ".airflowignore", "glob") if path.endswith(".py")]


def run_callback(path: str, kwargs: dict[str, Any]) -> tuple[bool, str | None]:
    """As Airflow's executor runs a deadline's callback."""
    from airflow.sdk.execution_time.callback_supervisor import execute_callback

    return execute_callback(path, kwargs, "", None, logging.getLogger())


@contextmanager
def session() -> Iterator[Any]:
    from airflow.utils.session import create_session

    with create_session() as opened:
        yield opened


def scheduled_dag(dag_id: str, session: Any) -> Any:
    """The DAG as the scheduler has it."""
    from airflow.models.serialized_dag import SerializedDagModel

    return SerializedDagModel.get(dag_id, session=session).dag


def create_run(dag_id: str, run_id: str, kind: str, session: Any, **given: Any) -> Any:
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    about = {"run_type": DagRunType(kind), "triggered_by": DagRunTriggeredByType.TEST, "state": QUEUED}
    return scheduled_dag(dag_id, session).create_dagrun(run_id=run_id, session=session, **about, **given)


def find_run(dag_id: str, run_id: str, session: Any) -> Any:
    from airflow.models.dagrun import DagRun

    return session.query(DagRun).filter_by(dag_id=dag_id, run_id=run_id).one()


def is_finished(run: Any) -> bool:
    from airflow.utils.state import State

    return run.state in State.finished_dr_states


def run_task(ti: Any, dag: DAG) -> None:
    from airflow.sdk.definitions.dag import _run_task

    _run_task(ti=ti, task=dag.task_dict[ti.task_id], run_triggerer=False)


def human_input(ti: Any, session: Any) -> Any:
    from airflow.models.hitl import HITLDetail

    return session.get(HITLDetail, ti.id)


def resume(ti: Any, payload: Any, session: Any) -> None:
    """With a person's answer, or its absence in time."""
    from airflow.models.trigger import handle_event_submit
    from airflow.triggers.base import TriggerEvent

    handle_event_submit(TriggerEvent(payload), task_instance=ti, session=session)


def reschedules(ti: Any, session: Any) -> int:
    from airflow.models.taskreschedule import TaskReschedule

    return session.query(TaskReschedule).filter_by(ti_id=ti.id).count()


def read_xcom(dag_id: str, run_id: str, task_id: str, key: str, session: Any) -> Any:
    from airflow.models.xcom import XComModel

    row = session.scalars(XComModel.get_many(run_id=run_id, dag_ids=dag_id, task_ids=task_id, key=key)).first()
    return XComModel.deserialize_value(row) if row else None
