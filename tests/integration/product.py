"""The running product: what the tests request of it and wait for."""

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil

from contract.documents import Image
from contract.platform import load_platform
from contract.store.factory import store_at
from demo.airflow_api import ENDED, Airflow
from demo.paths import MLFLOW_URL
from demo.traffic import LoadGenerator
from images.base import embedded_base
from images.package import Contents, package
from images.references import find, repository_of
from images.unpacked import unpack
from release.ledger.entries import Active, Outcome
from release.ledger.ledger import Ledger
from release.ledger.requests import Request
from release.registries.mlflow_alias import MlflowAlias
from release.routing.traefik import TraefikRouter
from tests.integration.checkout import Checkout, processes_with, require_ports
from tests.release.fakes import request_of
from tests.waiting import Answer, until

MODEL = "trip_delay"
FIRST_AS_OF = datetime(2013, 3, 25, tzinfo=UTC)
REQUESTS_PER_SECOND = 50
CLIENTS = 4
RUN_TIMEOUT_S = 600


class Run(NamedTuple):
    """A DAG run that has ended."""

    state: str
    tasks: dict[str, str | None]


class AirflowOfTests(Airflow):
    """Requests that only tests make."""

    def task(self, run: str, task: str) -> dict[str, Any]:
        return self._http.get(f"/api/v2/dags/{MODEL}/dagRuns/{run}/taskInstances/{task}").raise_for_status().json()

    def named_xcom(self, run: str, task: str, name: str) -> Any:
        path = f"/api/v2/dags/{MODEL}/dagRuns/{run}/taskInstances/{task}/xcomEntries/{name}"
        return self._http.get(path, params={"deserialize": True}).raise_for_status().json()["value"]

    def answer(self, run: str, task: str, chosen: str, reason: str) -> None:
        """As a person does in the UI."""
        path = f"/api/v2/dags/{MODEL}/dagRuns/{run}/taskInstances/{task}/-1/hitlDetails"
        self._http.patch(path, json={"chosen_options": [chosen], "params_input": {"reason": reason}}).raise_for_status()

    def backfill(self, first: datetime, last: datetime) -> None:
        """Again where Airflow answers 503: SQLite was locked, and nothing was written."""
        request = {"dag_id": MODEL, "from_date": first.isoformat(), "to_date": last.isoformat(), "max_active_runs": 2}

        def is_made() -> bool:
            answer = self._http.post("/api/v2/backfills", json=request)
            return answer.status_code != httpx.codes.SERVICE_UNAVAILABLE and answer.raise_for_status().is_success

        until(is_made, "Airflow has made the backfill", seconds=30)

    def runs(self, kind: str) -> list[str]:
        answer = self._http.get(f"/api/v2/dags/{MODEL}/dagRuns", params={"run_type": kind}).raise_for_status().json()
        return [run["dag_run_id"] for run in answer["dag_runs"]]


class Product:
    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self.platform = load_platform(checkout.platform, checkout.home)
        self.store = store_at(self.platform.store)
        self.ledger = Ledger(self.store)
        self.router = TraefikRouter(self.platform.serving)
        self.alias = MlflowAlias(MLFLOW_URL)
        self.airflow: AirflowOfTests

    def start(self) -> None:
        """A token of Airflow's ends with the process that signed it."""
        self.checkout.start()
        self.airflow = AirflowOfTests()
        self.airflow.await_dag(MODEL)
        self.airflow.unpause(MODEL)

    def traffic(self) -> LoadGenerator:
        rows = [[120.0, 3.0, "AA"], [480.0, 28.0, "UA"], [250.0, None, "ZZ"]]
        url = f"{self.platform.serving.url}/{MODEL}/invocations"
        return LoadGenerator(url, ["distance", "wind", "carrier"], rows, REQUESTS_PER_SECOND, CLIENTS)

    # runs of the DAG

    def trigger(self) -> str:
        """A run as of the day after the live version's."""
        live = self.ledger.champion(MODEL)
        as_of = live.as_of.replace(hour=0) + timedelta(days=1) if live else FIRST_AS_OF
        return self.airflow.trigger(MODEL, {"as_of": as_of.isoformat()})

    def ended(self, run: str) -> Run:
        until(lambda: self.airflow.run_state(MODEL, run) in ENDED, f"run {run} has ended", RUN_TIMEOUT_S, every_s=0.5)
        tasks = {task.task: task.state for task in self.airflow.tasks(MODEL, run)}
        return Run(self.airflow.run_state(MODEL, run), tasks)

    def await_task(self, run: str, task: str, state: str, seconds: float = RUN_TIMEOUT_S) -> None:
        self._during(run, lambda: self.airflow.task(run, task)["state"] == state, f"{task} is {state}", seconds=seconds)

    def await_task_process(self, run: str, task: str) -> psutil.Process:
        """The one that Airflow runs a Spark step in, whose title holds the try's id. Other tasks may be gone before it is found."""
        title = f"airflow worker -- {self.airflow.task(run, task)['id']}"
        return self._during(run, lambda: list(processes_with(title)), f"{task} has a process")[0]

    def condemn(self, task: str) -> None:
        """The next process of the task that leaves its document is killed with −9 right after."""
        (self.checkout.condemned / task).touch()

    def await_spark(self, run: str, job: str) -> psutil.Process:
        """The Java process of the run's application, once it has begun with this job."""
        request = re.compile(rf"--job (runs/\S+/{job}-\w+)\.request\.json")

        def has_begun(command: str) -> bool:
            named = request.search(command)
            return command.startswith("java ") and bool(named and self.store.read(f"{named[1]}.started.json"))

        def java_processes() -> list[psutil.Process]:
            running = processes_with(str(self.checkout.folder), "/spark_jobs/run.py")
            return [process for process, command in running.items() if has_begun(command)]

        return self._during(run, java_processes, f"{job} is at work in Spark")[0]

    def _during(self, run: str, holds: Callable[[], Answer], what: str, seconds: float = RUN_TIMEOUT_S) -> Answer:
        """The first true answer while the run goes on."""

        def ended() -> str:
            state = self.airflow.run_state(MODEL, run)
            return f"run {run} is {state}: {self.airflow.tasks(MODEL, run)}" if state in ENDED else ""

        return until(holds, what, seconds, in_vain=ended)

    # releases

    def next_image(self) -> Image:
        """The live version's files as one more version, registered in MLflow as any other."""
        live = self.ledger.champion(MODEL)
        with tempfile.TemporaryDirectory() as folder:
            unpack(*find(live.reference), Path(folder, "image"))
            files = {path.name: path.read_bytes() for path in Path(folder, "image/models/current").iterdir()}
        contents = Contents(MODEL, _register_again(live.version), live.as_of + timedelta(hours=1), files, live.labels)
        repository = repository_of(self.platform.images.repository, MODEL)
        return package(contents, embedded_base(self.checkout.folder / "serving", repository), repository)

    def ask(self, kind: str, image: Image) -> Request:
        """As Airflow's tasks do, with the golden rows and limits of the newest request."""
        like = next(entry.state.active.request for entry in self.ledger.entries(MODEL) if entry.state.active)
        live = self.ledger.champion(MODEL)
        changed = {"kind": kind, "id": f"{kind}-{image.version}", "image": image, "expected_live": live.digest}
        request = request_of(**dict(like) | changed)
        self.ledger.request(request)
        return request

    def await_outcome(self, request: Request) -> Outcome:
        return until(lambda: self.ledger.outcome(MODEL, request.id), f"{request.id} has ended", seconds=120)

    def await_release(self, percent: int, seconds: float) -> Active:
        """One under way that sends its version this part of the traffic, or more."""

        def under_way() -> Active | None:
            last = self.ledger.last(MODEL)
            active = last and last.state.active
            return active if active and active.request.kind == "release" and active.percent >= percent else None

        return until(under_way, f"a release sends {percent} % to its version", seconds=seconds)

    def version_tags(self, version: int) -> dict[str, str]:
        """In MLflow."""
        parameters = {"name": MODEL, "version": str(version)}
        answer = httpx.get(f"{MLFLOW_URL}/api/2.0/mlflow/model-versions/get", params=parameters, timeout=30, trust_env=False)
        return {tag["key"]: tag["value"] for tag in answer.raise_for_status().json()["model_version"]["tags"]}

    def artifact(self, mlflow_run: str, path: str) -> str:
        parameters = {"run_uuid": mlflow_run, "path": path}
        return httpx.get(f"{MLFLOW_URL}/get-artifact", params=parameters, timeout=30, trust_env=False).raise_for_status().text

    def outcomes(self, request_id: str) -> list[Outcome]:
        """All outcomes of the request that the ledger has."""
        return [outcome for entry in self.ledger.entries(MODEL) for outcome in entry.outcomes if outcome.request == request_id]

    def messages(self, subject: str) -> list[str]:
        """Those in the inbox with this text, one for each channel that it came by."""
        text = self.checkout.inbox.read_text() if self.checkout.inbox.exists() else ""
        return [message for message in text.split("--- ") if subject in message]

    def serving_version(self) -> str:
        """Version in the header of one answer; empty without an answer."""
        body = {"dataframe_split": {"columns": ["distance", "wind", "carrier"], "data": [[120.0, 3.0, "AA"]]}}
        try:
            answer = httpx.post(f"{self.platform.serving.url}/{MODEL}/invocations", json=body, timeout=10, trust_env=False)
        except httpx.TransportError:
            return ""
        return answer.headers.get("X-Model-Version", "") if answer.is_success else ""


@contextmanager
def running(checkout: Checkout) -> Iterator[Product]:
    """All of its services; skips the test where a port is another's. At the end nothing is left of them."""
    require_ports()
    checkout.make()
    product = Product(checkout)
    try:
        product.start()
        yield product
    finally:
        left = checkout.end()
    assert left == [], "make stop left processes"


def _register_again(version: int) -> int:
    mlflow = httpx.Client(base_url=f"{MLFLOW_URL}/api/2.0/mlflow/model-versions", timeout=30, trust_env=False)
    known = mlflow.get("/get", params={"name": MODEL, "version": str(version)}).raise_for_status().json()["model_version"]
    fields = {"name": MODEL, "source": known["source"], "run_id": known["run_id"], "tags": known["tags"]}
    return int(mlflow.post("/create", json=fields).raise_for_status().json()["model_version"]["version"])
