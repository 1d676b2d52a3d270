"""Runs whole DAGs in this process: what `dag.test()` does, and also other kinds of runs, clearing, and a controller beside it."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG

from tests.plugins import airflow_internals as internals

GIVE_UP_S = 120
IDLE_S = 0.1


class Run:
    def __init__(self, dag: DAG, run_id: str, reconcile: Callable[[], None]) -> None:
        self.dag = dag
        self.run_id = run_id
        self.reconcile = reconcile

    def go(self, within_s: float = GIVE_UP_S, idle_s: float = IDLE_S, until: Callable[[], bool] = lambda: False) -> "Run":
        """Until the run has ended, or waits for a person, or `until` holds."""
        give_up = time.monotonic() + within_s
        with internals.session() as session:
            run = self._run(session)
            run.dag = internals.scheduled_dag(self.dag.dag_id, session)
            while not internals.is_finished(run) and not self._asks(run, session) and not until():
                assert time.monotonic() < give_up, self.states()
                self.reconcile()
                self._tasks(run, session, idle_s)
                session.expire_all()
        return self

    def _tasks(self, run: Any, session: Any, idle_s: float) -> None:
        ready, _ = run.update_state(session=session)
        for ti in ready:
            if ti.state != internals.UP_FOR_RESCHEDULE:
                ti.try_number += 1
            ti.state = internals.SCHEDULED
        session.commit()
        for ti in ready:
            internals.run_task(ti, self.dag)
        if not ready:
            time.sleep(idle_s)

    def _asks(self, run: Any, session: Any) -> bool:
        return any(ti.state == internals.AWAITING_INPUT for ti in run.get_task_instances(session=session))

    def question(self, task_id: str) -> tuple[str, str]:
        """What a person is shown: subject and body."""
        with internals.session() as session:
            detail = internals.human_input(self._run(session).get_task_instance(task_id, session=session), session)
            return detail.subject, detail.body

    def answer(self, task_id: str, chosen: str, reason: str = "", by: str | None = "ada") -> "Run":
        """As Airflow's API does for a person, or with `by` None its scheduler after the time is over; and on to the end."""
        with internals.session() as session:
            ti = self._run(session).get_task_instance(task_id, session=session)
            said = internals.human_input(ti, session)
            said.chosen_options, said.params_input, said.responded_at = [chosen], {"reason": reason}, datetime.now(UTC)
            said.responded_by = {"id": by, "name": by} if by else None
            internals.resume(ti, said.as_resume_event_payload(timedout=by is None), session)
            session.commit()
            internals.run_task(ti, self.dag)
        return self.go()

    def clear(self, *task_ids: str, downstream: bool = True) -> "Run":
        """As a person does in the UI: these tasks and, if not switched off, all that follows them."""
        with internals.session() as session:
            dag = internals.scheduled_dag(self.dag.dag_id, session)
            for task_id in task_ids:
                dag.partial_subset([task_id], include_downstream=downstream, include_upstream=False).clear(
                    run_id=self.run_id, dag_run_state=internals.RUNNING, session=session
                )
        return self

    def kill(self, task_id: str) -> "Run":
        """The task's process was killed before Airflow noticed its success: it is tried once more."""
        with internals.session() as session:
            run = self._run(session)
            run.set_state(internals.RUNNING)
            run.get_task_instance(task_id, session=session).state = None
        return self

    def delete(self) -> None:
        with internals.session() as session:
            session.delete(self._run(session))

    @property
    def state(self) -> str:
        with internals.session() as session:
            return str(self._run(session).state)

    def states(self) -> dict[str, str]:
        with internals.session() as session:
            return {ti.task_id: str(ti.state) for ti in self._run(session).get_task_instances(session=session)}

    def tries(self) -> dict[str, int]:
        with internals.session() as session:
            return {ti.task_id: ti.try_number for ti in self._run(session).get_task_instances(session=session)}

    def was_rescheduled(self, task_id: str) -> bool:
        with internals.session() as session:
            ti = self._run(session).get_task_instance(task_id, session=session)
            return internals.reschedules(ti, session) > 0

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        with internals.session() as session:
            return internals.read_xcom(self.dag.dag_id, self.run_id, task_id, key, session)

    def _run(self, session: Any) -> Any:
        return internals.find_run(self.dag.dag_id, self.run_id, session)


def start(
    dag: DAG,
    reconcile: Callable[[], None],
    *,
    kind: str = "manual",
    due: datetime,
    conf: dict[str, Any] | None = None,
    run_id: str = "",
) -> Run:
    with internals.session() as session:
        run_id = run_id or f"{kind}__{due.isoformat()}_{uuid.uuid4().hex[:6]}"
        run = internals.create_run(
            dag.dag_id,
            run_id,
            kind,
            session,
            logical_date=due if kind != "manual" else None,
            data_interval=(due, due) if kind != "manual" else None,
            run_after=due,
            conf=conf,
        )
        run.set_state(internals.RUNNING)
    return Run(dag, run_id, reconcile)
