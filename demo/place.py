"""Where the demo lives: folders, ports and addresses, all on this machine's loopback."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".demo"
LOGS = HOME / "service-logs"
PLATFORM = ROOT / "dags" / "platforms" / "local.yaml"

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


def python_of(room: str) -> str:
    return str(ROOT / ".venv" / room / "bin" / "python")
