"""Spark on YARN in cluster mode: submitted by spark-submit, which does not wait; found and stopped by YARN's REST API.

A job is found by its tags,  https://hadoop.apache.org/docs/r3.4.1/hadoop-yarn/hadoop-yarn-site/ResourceManagerRest.html.
"""

import getpass
import os
import re
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any

import requests
from airflow.sdk import BaseHook

from contract.paths import StoreLayout
from contract.spark import Spark
from contract.store.base import Store
from contract.store.factory import store_at
from plugins.retraining.engines.artifact_staging import ON_NODES, PYTHON, address, ship
from plugins.retraining.engines.base import Application, Engine, EngineAway, Phase, Submission
from plugins.retraining.engines.diagnosis import diagnose
from plugins.retraining.engines.spark_submit import RUN, environment, hook_for
from plugins.retraining.errors import EngineTrouble
from plugins.retraining.task_log import Log

ADDRESS = "yarn_resourcemanager_webapp_address"  # the extra that the provider's own hook reads
TIMEOUT_S, SUBMIT_TIMEOUT_S = 10, 300
LAST_BYTES, LAST_LINES = 16 * 1024, 20
QUEUED = ("NEW", "NEW_SAVING", "SUBMITTED", "ACCEPTED")
LIVE = (*QUEUED, "RUNNING")
QUICK_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # of spark-submit, which runs for seconds: halves its processor time
PRIORITY = {"validate": 0, "train": 1, "compare": 2}  # in a queue, runs that are further ahead go first


class YarnEngine(Engine):
    waits_in_task, carries_run = False, True

    def __init__(self, spark: Spark, entry_point: Path = RUN) -> None:
        self.spark = spark
        self.entry_point = entry_point

    def find(self, tag: str, live: bool = False) -> list[Application]:
        params = {"applicationTags": tag, "deSelects": "resourceRequests,timeouts", **({"states": ",".join(LIVE)} if live else {})}
        apps = (self._call("GET", "apps", params=params).get("apps") or {}).get("app", [])
        return sorted(map(self._application, apps), key=lambda application: application.id)

    def submit(self, submission: Submission, log: Log) -> str:
        store = store_at(submission.run.platform.store)
        done = self._run(self.command(submission, store, log))
        ids: list[str] = re.findall(r"application_\d+_\d+", done)
        if not ids:
            raise EngineTrouble(f"spark-submit ended without an application: {_last_line(done)}")
        return ids[-1]

    def state(self, id: str) -> Application:
        """One that the ResourceManager does not know any more has ended."""
        answer = self._call("GET", f"apps/{id}")
        return self._application(answer["app"]) if "app" in answer else Application(id, "ended", "YARN does not know it any more")

    def stop(self, id: str) -> None:
        self._call("PUT", f"apps/{id}/state", params={"user.name": user()}, json={"state": "KILLED"})

    def logs(self, id: str) -> list[str]:
        """The end of both of the driver's outputs, from the node where it ran."""
        app = self._call("GET", f"apps/{id}").get("app", {})
        match = re.match(r"(https?://[^/]+)/node/containerlogs/([^/]+)", app.get("amContainerLogs", ""))
        if not match:
            return []
        return [line for name in ("stderr", "stdout") for line in _tail(f"{match[1]}/ws/v1/node/containers/{match[2]}/logs/{name}")]

    def command(self, submission: Submission, store: Store, log: Log) -> list[str]:
        shipped = ship(store, self.spark.python, log)
        store.create(f"{StoreLayout.EVENTS}/.keep", b"")  # Spark does not create the folder itself
        conf = {
            "spark.yarn.archive": shipped.jars,
            "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": address(store, StoreLayout.EVENTS),
            "spark.yarn.priority": str(PRIORITY[submission.first.job]),
            **submission.settings,
            "spark.yarn.tags": ",".join(submission.tags),
            "spark.yarn.maxAppAttempts": "1",  # retries are Airflow's, with a new key
            "spark.yarn.submit.waitAppCompletion": "false",
            **{f"spark.yarn.appMasterEnv.{name}": value for name, value in _driver_environment().items()},
            "spark.executorEnv.PYSPARK_PYTHON": PYTHON,
        }
        queue = conf.pop("spark.yarn.queue", None)
        archives = f"{shipped.environment}#environment"
        shipping = {"py_files": shipped.code, "archives": archives}
        hook = hook_for(self.spark, submission, conf, **shipping, deploy_mode="cluster", yarn_queue=queue)
        return hook._build_spark_submit_command(str(self.entry_point))

    def environment(self) -> dict[str, str]:
        given = {"HADOOP_CONF_DIR": self.spark.hadoop_conf or "", "HADOOP_USER_NAME": user()}
        return environment(self.spark, **given, SPARK_SUBMIT_OPTS=f"{QUICK_JVM} {os.environ.get('SPARK_SUBMIT_OPTS', '')}".strip())

    def _run(self, command: list[str]) -> str:
        """Output of spark-submit until the application is accepted; its JVM does not live while the job is waited for."""
        env = self.environment()
        try:
            done = subprocess.run(  # noqa: S603  (a list, built here)
                command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SUBMIT_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            problem = f"spark-submit did not end within {SUBMIT_TIMEOUT_S} s: check that YARN accepts applications"
            raise EngineTrouble(problem) from None
        except OSError as error:
            raise EngineTrouble(f"{command[0]} could not be started: {error.strerror}; see spark.python") from error
        if done.returncode:
            raise diagnose("spark-submit", Application("no application", "ended", done.stdout), done.stdout.splitlines())
        return done.stdout

    def _application(self, app: dict[str, Any]) -> Application:
        phase: Phase = "queued" if app["state"] in QUEUED else "running" if app["state"] == "RUNNING" else "ended"
        launched = app.get("launchTime") or app["startedTime"]
        diagnostics = f"{app['finalStatus']}: {app.get('diagnostics', '')}" if phase == "ended" else app.get("diagnostics", "")
        return Application(
            id=app["id"],
            phase=phase,
            diagnostics=diagnostics,
            seconds=max(0.0, (app["startedTime"] + app["elapsedTime"] - launched) / 1000),
            link=f"{self._url}/cluster/app/{app['id']}",
            vcpu_hours=app.get("vcoreSeconds", 0) / 3600,
            tags=frozenset(app.get("applicationTags", "").split(",")),
        )

    @cached_property
    def _url(self) -> str:
        given = (BaseHook.get_connection(self.spark.connection).extra_dejson.get(ADDRESS) or "").strip().rstrip("/")
        if not given:
            problem = f"the Airflow connection {self.spark.connection} has no address of YARN's ResourceManager"
            raise EngineTrouble(f"{problem}: set {ADDRESS} in its extra, such as http://rm.example.com:8088")
        return given if "://" in given else f"http://{given}"

    def _call(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        """The answer's JSON, empty for 404. Raises EngineAway for no answer, or for another status."""
        try:
            answer = requests.request(method, f"{self._url}/ws/v1/cluster/{path}", timeout=TIMEOUT_S, **given)
            if answer.status_code == requests.codes.not_found:
                return {}
            if answer.ok:
                content: dict[str, Any] = answer.json()
                return content
            problem = f"answers {answer.status_code}"
        except requests.RequestException as error:
            problem = f"does not answer ({type(error).__name__})"
        raise EngineAway(f"YARN's ResourceManager at {self._url} {problem}")


def user() -> str:
    return os.environ.get("HADOOP_USER_NAME") or getpass.getuser()


def _driver_environment() -> dict[str, str]:
    return {
        **ON_NODES,
        "HADOOP_CONF_DIR": "{{PWD}}/__spark_conf__/__hadoop_conf__",  # the store's WebHDFS is found there
        "HADOOP_USER_NAME": user(),
    }


def _tail(url: str) -> list[str]:
    try:
        answer = requests.get(url, params={"size": -LAST_BYTES}, timeout=TIMEOUT_S)
    except requests.RequestException:
        return []
    return answer.text.splitlines()[-LAST_LINES:] if answer.ok else []


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "it printed nothing")[:300]
