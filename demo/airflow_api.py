"""The part of Airflow's REST API that the demo and the benchmarks use."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from demo.paths import AIRFLOW_URL

ENDED = {"success", "failed"}


@dataclass(frozen=True)
class TaskState:
    task: str
    state: str | None
    seconds: float
    ended: float  # Unix seconds; 0 until then


class Airflow:
    """Signs in when it is made; a token lasts longer than a demo."""

    def __init__(self, url: str = AIRFLOW_URL):
        self._http = httpx.Client(base_url=url, timeout=60)
        token = self._http.post("/auth/token", json={"username": "admin", "password": "admin"}).raise_for_status().json()
        self._http.headers["Authorization"] = f"Bearer {token['access_token']}"

    def knows(self, dag: str) -> bool:
        return self._http.get(f"/api/v2/dags/{dag}").status_code == 200

    def unpause(self, dag: str) -> None:
        self._http.patch(f"/api/v2/dags/{dag}", json={"is_paused": False}).raise_for_status()

    def unpause_all(self, prefix: str) -> None:
        """Up to a hundred DAGs in one request; with `dag_id_prefix_pattern` Airflow 3.3 finds none here."""
        parameters = {"dag_id_pattern": f"{prefix}%", "limit": 100}
        self._http.patch("/api/v2/dags", params=parameters, json={"is_paused": False}).raise_for_status()

    def trigger(self, dag: str, conf: dict[str, Any]) -> str:
        """The new run's id."""
        answer = self._http.post(f"/api/v2/dags/{dag}/dagRuns", json={"logical_date": None, "conf": conf})
        return answer.raise_for_status().json()["dag_run_id"]

    def run_state(self, dag: str, run: str) -> str:
        return self._http.get(f"/api/v2/dags/{dag}/dagRuns/{run}").raise_for_status().json()["state"]

    def tasks(self, dag: str, run: str) -> list[TaskState]:
        instances = self._http.get(f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances").raise_for_status().json()["task_instances"]
        return [TaskState(row["task_id"], row["state"], row["duration"] or 0.0, _unix(row["end_date"])) for row in instances]

    def xcom(self, dag: str, run: str, task: str) -> Any:
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/return_value"
        answer = self._http.get(path, params={"deserialize": True})
        return answer.json().get("value") if answer.status_code == 200 else None

    def clear(self, dag: str, run: str, task: str) -> None:
        """Clears the task and all downstream of it."""
        options = {"dry_run": False, "dag_run_id": run, "task_ids": [task], "include_downstream": True, "only_failed": False}
        self._http.post(f"/api/v2/dags/{dag}/clearTaskInstances", json=options).raise_for_status()

    def await_dag(self, dag: str, timeout_s: float = 90) -> None:
        until = time.monotonic() + timeout_s
        while not self.knows(dag):
            if time.monotonic() > until:
                raise TimeoutError(f"Airflow does not list {dag} after {timeout_s:.0f} s")
            time.sleep(0.5)


def _unix(time: str | None) -> float:
    return datetime.fromisoformat(time).timestamp() if time else 0.0
