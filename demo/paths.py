"""Folders, ports and addresses of the demo, all on this machine's loopback."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".demo"
LOGS = HOME / "service-logs"
PLATFORMS = ROOT / "dags" / "platforms"
CHOSEN = HOME / "platform"  # name of the platform that the demo was started on, until `make clean`

AIRFLOW_URL = "http://127.0.0.1:8080"
MLFLOW_URL = "http://127.0.0.1:5000"
SERVING_URL = "http://127.0.0.1:8000"
SMTP_PORT = 8025
WEBHOOK_PORT = 8026
INBOX = HOME / "inbox.txt"

PORTS = {
    8080: "Airflow",
    5000: "MLflow",
    8000: "the router",
    8001: "the router's API",
    SMTP_PORT: "mail",
    WEBHOOK_PORT: "Slack's stand-in",
}


MODEL = "flight_delay"
AS_OF = ("2013-05-15T00:00:00+00:00", "2013-06-01T00:00:00+00:00")  # the untouched gate promotes at both (a test)


MADE = ("docker", "yarn")  # platforms whose files the demo writes, because they name services that it starts


def platform() -> Path:
    """The platform's file: `make demo PLATFORM=docker` chooses it, and all later commands use the choice."""
    name = CHOSEN.read_text().strip() if CHOSEN.exists() else os.environ.get("PLATFORM") or "local"
    return HOME / f"{name}.yaml" if name in MADE else PLATFORMS / f"{name}.yaml"


def on_containers() -> bool:
    return platform().stem == "docker"


def python_of(environment: str) -> str:
    return str(ROOT / ".venv" / environment / "bin" / "python")
