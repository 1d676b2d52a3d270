"""The demo's processes, kept by one supervisord: Airflow, MLflow, an inbox for alerts, and the serving host."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import httpx
import psutil

from contract.errors import RetrainingError
from demo.errors import DemoError
from demo.paths import (
    AIRFLOW_URL,
    HOME,
    LOGS,
    MLFLOW_URL,
    PORTS,
    ROOT,
    SMTP_PORT,
    WEBHOOK_PORT,
    on_containers,
    platform,
    python_of,
)
from demo.platforms import cluster, containers
from demo.ports import await_answer, is_taken

CONF = HOME / "services.conf"
SOCKET = HOME / "services.sock"
STOP_WITHIN_S = 5


def tell(show: Callable[[], int]) -> int:
    """Exit code of `show`; an error that ends it early is printed as one sentence, and the code is 1."""
    try:
        return show()
    except (DemoError, RetrainingError) as error:
        said = str(error)
    except (httpx.HTTPError, TimeoutError) as error:
        said = f"a service does not answer ({error}): read `make status`; `make demo` goes on with what is live"
    except KeyboardInterrupt:
        said = "interrupted; the services run on: `make demo` goes on with what is live, `make stop` ends them"
    print(f"\ndemo: {said}", file=sys.stderr)
    return 1


def commands() -> dict[str, str]:
    """Name of each service: the command that runs it. Only Airflow's processes see its secrets."""
    airflow = f"{python_of('airflow')} -m airflow"
    bare = "/usr/bin/env -u AIRFLOW__API_AUTH__JWT_SECRET -u AIRFLOW_CONN_SIGNING_DEFAULT MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"
    mlflow = HOME / "mlflow"
    return {
        "airflow-api-server": f"{airflow} api-server",
        "airflow-scheduler": f"{airflow} scheduler",
        "airflow-dag-processor": f"{airflow} dag-processor",
        "mlflow": f"{bare} {python_of('spark')} -m mlflow server --host 127.0.0.1 --port 5000 --workers 1 "
        f"--backend-store-uri sqlite:///{mlflow}/mlflow.db --artifacts-destination {mlflow}/artifacts",
        "inbox": f"{bare} {python_of('release')} -m demo.inbox",
        **{name: f"{bare} {command}" for name, command in (platform_services().commands() if platform_services() else {}).items()},
        "serving-host": f"{bare} DOCKER_HOST={containers.address()} "
        f"{python_of('release')} -m release.routing.host --platform {platform()}",
    }


def platform_services() -> ModuleType | None:
    """Module with the further services of the chosen platform; None for the local one."""
    return {"docker": containers, "yarn": cluster}.get(platform().stem)


def render_conf() -> str:
    """A stop reaches the whole process group, so that no worker or router outlives its parent."""
    programs = [
        f"[program:{name}]\ncommand={command}\ndirectory={ROOT}\nautorestart=true\nstartsecs=0\n"
        "stopasgroup=true\nkillasgroup=true\nstopwaitsecs=20\nredirect_stderr=true\n"
        f"stdout_logfile={LOGS / name}.log\nstdout_logfile_maxbytes=20MB\nstdout_logfile_backups=1\n"
        for name, command in commands().items()
    ]
    head = (
        f"[supervisord]\npidfile={HOME}/services.pid\nlogfile={LOGS}/supervisord.log\nchildlogdir={LOGS}\n"
        f"[unix_http_server]\nfile={SOCKET}\nchmod=0700\n"
        f"[supervisorctl]\nserverurl=unix://{SOCKET}\n"
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
    )
    return head + "\n".join(programs)


def environment() -> dict[str, str]:
    """Settings of every service. The signing secret lives in memory only, new at each start."""
    bundle = [
        {"name": "retraining", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {"path": str(ROOT)}}
    ]
    slack = {"conn_type": "slackwebhook", "host": f"http://127.0.0.1:{WEBHOOK_PORT}/services", "password": "T0/B0/demo"}
    smtp = {"conn_type": "smtp", "host": "127.0.0.1", "port": SMTP_PORT, "extra": {"disable_ssl": True, "disable_tls": True}}
    spark = {"conn_type": "spark", "host": "local[2]", "extra": {"deploy-mode": "client", "spark-binary": "spark-submit"}}
    return {
        **os.environ,
        "AIRFLOW_HOME": str(HOME),
        "RETRAINING_PLATFORM": str(platform()),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{ROOT}/.venv/airflow/bin:{os.environ['PATH']}",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}?timeout=60",  # writers wait for each other
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundle),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "15",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",  # a killed scheduler's tasks are taken over, else after 300 s
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",  # the end of a task is noticed sooner
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": AIRFLOW_URL.rsplit(":", 1)[1],
        "AIRFLOW__API__BASE_URL": AIRFLOW_URL,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{AIRFLOW_URL}/execution/",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(HOME / "passwords.json"),
        "AIRFLOW_CONN_SPARK_LOCAL": json.dumps(spark),
        "AIRFLOW_CONN_SLACK_DEFAULT": json.dumps(slack),
        "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(smtp),
    }


def start() -> None:
    """Returns when every service answers; else raises DemoError with the service and its log."""
    more = platform_services()
    check_ports(PORTS | (dict.fromkeys(cluster.HADOOP.ports.all(), "Hadoop") if more is cluster else {}))
    for folder in (LOGS, HOME / "mlflow"):
        folder.mkdir(parents=True, exist_ok=True)
    (HOME / "passwords.json").write_text('{"admin": "admin"}')
    if more:
        more.write_platform(platform())
    CONF.write_text(render_conf())
    env = environment() | (more.environment() if more else {})
    _migrate(env)
    subprocess.run([python_of("release"), "-m", "supervisor.supervisord", "-c", str(CONF)], env=env, check=True)
    if more:
        more.await_ready()
    await_answer("MLflow", "mlflow", lambda: httpx.get(f"{MLFLOW_URL}/health", timeout=2).status_code == 200)
    await_answer("Airflow", "airflow-api-server", _airflow_is_healthy)
    httpx.get(f"{AIRFLOW_URL}/execution/health", timeout=60)  # builds its schemas now, not in the first task
    await_answer("the router", "serving-host", lambda: httpx.get("http://127.0.0.1:8001/api/version", timeout=2).status_code == 200)


def running() -> bool:
    return SOCKET.exists() and _control("pid").returncode == 0


def stop() -> None:
    """Returns when the last process is gone, those included that a killed scheduler left."""
    pid_file = HOME / "services.pid"
    pid = int(pid_file.read_text()) if pid_file.exists() else None
    if on_containers():
        _control("stop", "serving-host")
        containers.stop()
    _control("shutdown")
    while pid is not None and Path(f"/proc/{pid}").exists():
        time.sleep(0.2)
    _end(_left_over())
    if platform().stem == "yarn":
        cluster.stop()


def restart(service: str) -> None:
    _control("restart", service)


def listing() -> str:
    return _control("status").stdout


def _control(*words: str) -> subprocess.CompletedProcess[str]:
    command = [python_of("release"), "-m", "supervisor.supervisorctl", "-c", str(CONF), *words]
    return subprocess.run(command, capture_output=True, text=True)


def _left_over() -> list[psutil.Process]:
    """Spark applications, which belong to no task, and what a killed scheduler left: Airflow's processes write a title over their
    command and their environment.
    """
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if process.cwd() == str(ROOT) and (command.startswith("airflow ") or f"{ROOT}/spark_jobs/run.py" in command):
                left.append(process)
    return left


def _end(processes: list[psutil.Process]) -> None:
    """Spark removes its scratch folders when it is given the time."""
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(processes, timeout=STOP_WITHIN_S)[1]:
        process.kill()


def _migrate(env: dict[str, str]) -> None:
    done = subprocess.run([python_of("airflow"), "-m", "airflow", "db", "migrate"], env=env, capture_output=True, text=True)
    if done.returncode:
        raise DemoError(f"Airflow's database could not be made: {done.stderr.strip()[-500:]}")


def check_ports(users: dict[int, str]) -> None:
    taken = [port for port in users if is_taken(port)]
    if taken:
        named = " and ".join(f"port {port}, which {users[port]} needs," for port in taken)
        sockets = " or ".join(f"sport = :{port}" for port in taken)
        what = "is taken: find its owner" if len(taken) == 1 else "are taken: find their owners"
        raise DemoError(f"{named} {what} with `ss -ltnp '{sockets}'`, stop what you find, and try again")


def _airflow_is_healthy() -> bool:
    health = httpx.get(f"{AIRFLOW_URL}/api/v2/monitor/health", timeout=10).json()
    return all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))
