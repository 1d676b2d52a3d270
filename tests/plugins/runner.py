"""Runs whole DAGs in this process: what `dag.test()` does, and also other kinds of runs, clearing, and a controller beside it."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from airflow.models.serialized_dag import SerializedDagModel
from airflow.sdk import DAG
from airflow.sdk.definitions.dag import _run_task
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, State, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType

GIVE_UP_S = 120
IDLE_S = 0.1


class Run:
    def __init__(self, dag: DAG, run_id: str, reconcile: Callable[[], None]) -> None:
        self.dag = dag
        self.run_id = run_id
        self.reconcile = reconcile

    def go(self) -> "Run":
        """Until the run has ended, or waits for a person."""
        give_up = time.monotonic() + GIVE_UP_S
        with create_session() as session:
            run = self._run(session)
            run.dag = serialized(self.dag.dag_id, session)
            while run.state not in State.finished_dr_states and not self._asks(run, session):
                assert time.monotonic() < give_up, self.states()
                self.reconcile()
                self._tasks(run, session)
                session.expire_all()
        return self

    def _tasks(self, run: Any, session: Any) -> None:
        ready, _ = run.update_state(session=session)
        for ti in ready:
            if ti.state != TaskInstanceState.UP_FOR_RESCHEDULE:
                ti.try_number += 1
            ti.state = TaskInstanceState.SCHEDULED
        session.commit()
        for ti in ready:
            _run_task(ti=ti, task=self.dag.task_dict[ti.task_id], run_triggerer=False)
        if not ready:
            time.sleep(IDLE_S)

    def _asks(self, run: Any, session: Any) -> bool:
        return any(ti.state == TaskInstanceState.AWAITING_INPUT for ti in run.get_task_instances(session=session))

    def question(self, task_id: str) -> tuple[str, str]:
        """What a person is shown: subject and body."""
        with create_session() as session:
            detail = _hitl_detail(self._run(session).get_task_instance(task_id, session=session), session)
            return detail.subject, detail.body

    def answer(self, task_id: str, chosen: str, reason: str = "", by: str | None = "ada") -> "Run":
        """As Airflow's API does for a person, or with `by` None its scheduler after the time is over; and on to the end."""
        from airflow.models.trigger import handle_event_submit
        from airflow.triggers.base import TriggerEvent

        with create_session() as session:
            ti = self._run(session).get_task_instance(task_id, session=session)
            said = _hitl_detail(ti, session)
            said.chosen_options, said.params_input, said.responded_at = [chosen], {"reason": reason}, datetime.now(UTC)
            said.responded_by = {"id": by, "name": by} if by else None
            handle_event_submit(TriggerEvent(said.as_resume_event_payload(timedout=by is None)), task_instance=ti, session=session)
            session.commit()
            _run_task(ti=ti, task=self.dag.task_dict[task_id], run_triggerer=False)
        return self.go()

    def clear(self, *task_ids: str) -> "Run":
        """As a person does in the UI: these tasks and all that follows them."""
        with create_session() as session:
            dag = serialized(self.dag.dag_id, session)
            for task_id in task_ids:
                dag.partial_subset([task_id], include_downstream=True, include_upstream=False).clear(
                    run_id=self.run_id, dag_run_state=DagRunState.RUNNING, session=session
                )
        return self

    def kill(self, task_id: str) -> "Run":
        """The task's process was killed before Airflow noticed its success: it is tried once more."""
        with create_session() as session:
            run = self._run(session)
            run.set_state(DagRunState.RUNNING)
            run.get_task_instance(task_id, session=session).state = None
        return self

    def delete(self) -> None:
        with create_session() as session:
            session.delete(self._run(session))

    @property
    def state(self) -> str:
        with create_session() as session:
            return str(self._run(session).state)

    def states(self) -> dict[str, str]:
        with create_session() as session:
            return {ti.task_id: str(ti.state) for ti in self._run(session).get_task_instances(session=session)}

    def tries(self) -> dict[str, int]:
        with create_session() as session:
            return {ti.task_id: ti.try_number for ti in self._run(session).get_task_instances(session=session)}

    def was_rescheduled(self, task_id: str) -> bool:
        from airflow.models.taskreschedule import TaskReschedule

        with create_session() as session:
            ti = self._run(session).get_task_instance(task_id, session=session)
            return session.query(TaskReschedule).filter_by(ti_id=ti.id).count() > 0

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        from airflow.models.xcom import XComModel

        with create_session() as session:
            query = XComModel.get_many(run_id=self.run_id, dag_ids=self.dag.dag_id, task_ids=task_id, key=key)
            row = session.scalars(query).first()
            return XComModel.deserialize_value(row) if row else None

    def _run(self, session: Any) -> Any:
        from airflow.models.dagrun import DagRun

        return session.query(DagRun).filter_by(dag_id=self.dag.dag_id, run_id=self.run_id).one()


def _hitl_detail(ti: Any, session: Any) -> Any:
    from airflow.models.hitl import HITLDetail

    return session.get(HITLDetail, ti.id)


def start(
    dag: DAG,
    reconcile: Callable[[], None],
    *,
    kind: str = "manual",
    due: datetime,
    conf: dict[str, Any] | None = None,
    run_id: str = "",
) -> Run:
    with create_session() as session:
        run_id = run_id or f"{kind}__{due.isoformat()}_{uuid.uuid4().hex[:6]}"
        run = serialized(dag.dag_id, session).create_dagrun(
            run_id=run_id,
            logical_date=due if kind != "manual" else None,
            data_interval=(due, due) if kind != "manual" else None,
            run_after=due,
            conf=conf,
            run_type=DagRunType(kind),
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.QUEUED,  # from then on its deadlines count
            session=session,
        )
        run.set_state(DagRunState.RUNNING)
    return Run(dag, run_id, reconcile)


def serialized(dag_id: str, session: Any) -> Any:
    return SerializedDagModel.get(dag_id, session=session).dag
