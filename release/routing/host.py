"""The serving host: renders what supervisord and Traefik read, then becomes supervisord.

`python -m release.routing.host --platform FILE`, in the foreground; AIRFLOW_HOME is the home of the file's relative paths.
"""

import argparse
import os
import shlex
import sys
import sysconfig
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from contract.errors import PermanentError, RetrainingError
from contract.platform import Platform, ServingHost, load_platform
from images.files import write_whole
from release.routing import certificate
from release.routing.traefik import ENTRY_POINT, ROUTES
from release.targets.ports import is_free
from release.targets.process import LOGS, PROGRAMS, SOCKET, escaped

SUPERVISOR_CONF, TRAEFIK_CONF = "supervisord.conf", "traefik.yml"
SOCKET_PATH_LIMIT = 107  # bytes, Linux
RESPONSE_TIMEOUT = "10s"  # a hung server would count nothing at all without one
# A router that was killed is back before supervisord looks, once a second; one that ends by itself is left to supervisord.
RESTART_WHEN_KILLED = "trap 'kill $!; wait; exit' TERM; while setpriv --pdeathsig TERM \"$@\" & wait $!; [ $? -gt 128 ]; do :; done"
# Upper bounds in seconds: fine around the limits of specs, where a percentile is interpolated.
LATENCY_BUCKETS = [
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.075, 0.1),
    *(0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0),
]


class HostNotReady(PermanentError):
    """This host's configuration does not allow it to serve; the message says what to change."""


def prepare(platform: Platform, file: Path) -> Path:
    """Writes the configurations and returns supervisord's."""
    home = Path(platform.serving.home)
    refuse_unfit(platform.serving, file)
    for folder in (PROGRAMS, ROUTES, LOGS):
        (home / folder).mkdir(parents=True, exist_ok=True)
    write_whole(home / TRAEFIK_CONF, render_traefik(platform.serving).encode())
    write_whole(home / ROUTES / certificate.FILE, certificate.render_certificate().encode())
    write_whole(home / SUPERVISOR_CONF, render_supervisor(file).encode())
    return home / SUPERVISOR_CONF


def refuse_unfit(serving: ServingHost, file: Path) -> None:
    socket = Path(serving.home, SOCKET)
    if len(os.fsencode(socket)) > SOCKET_PATH_LIMIT:
        raise HostNotReady(
            f"{socket} is longer than {SOCKET_PATH_LIMIT} bytes, too long for a socket; shorten serving.home in {file}"
        )
    if set("%;\n") & set(serving.home):  # supervisord would read them as its own syntax
        raise HostNotReady(f"{serving.home!r} contains a percent sign, a semicolon or a line end; change serving.home in {file}")
    for key in ("url", "router_api"):
        port = _port(getattr(serving, key))
        if not is_free(port):
            raise HostNotReady(f"port {port} on 127.0.0.1 is in use; stop what uses it, or change serving.{key} in {file}")


def render_traefik(serving: ServingHost) -> str:
    """Traefik's static configuration. API and metrics are for this host only."""
    document = {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "entryPoints": {
            ENTRY_POINT: {"address": f"127.0.0.1:{_port(serving.url)}"},
            "traefik": {"address": f"127.0.0.1:{_port(serving.router_api)}"},  # the name that api.insecure listens on
        },
        "api": {"insecure": True, "dashboard": False},
        "metrics": {"prometheus": {"entryPoint": "traefik", "addEntryPointsLabels": False, "buckets": LATENCY_BUCKETS}},
        "providers": {
            "providersThrottleDuration": "100ms",
            "file": {"directory": str(Path(serving.home, ROUTES)), "watch": True},
        },
        "serversTransport": {
            "forwardingTimeouts": {
                "dialTimeout": "1s",
                "responseHeaderTimeout": RESPONSE_TIMEOUT,
                "idleConnTimeout": "4s",  # shorter than a server's own: who closes first must be the one that sends requests
            }
        },
        "log": {"level": "INFO", "noColor": True},
    }
    content: str = yaml.safe_dump(document, sort_keys=False)
    return content


def render_supervisor(file: Path) -> str:
    checkout = Path(__file__).resolve().parents[2]
    traefik = [str(Path(sysconfig.get_path("scripts"), "traefik")), f"--configFile={TRAEFIK_CONF}"]
    controller = [sys.executable, "-m", "release.controller.loop", "--platform", str(file.resolve())]
    return f"""\
[supervisord]
nodaemon=true
logfile=%(here)s/{LOGS}/supervisord.log
logfile_maxbytes=5MB
logfile_backups=2
pidfile=%(here)s/supervisord.pid

[unix_http_server]
file=%(here)s/{SOCKET}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://%(here)s/{SOCKET}

{_program("traefik", ["sh", "-c", RESTART_WHEN_KILLED, "sh", "env", "-i", *traefik], "%(here)s")}
{_program("controller", controller, escaped(str(checkout)))}
[include]
files={PROGRAMS}/*.conf
"""


def _program(name: str, command: list[str], folder: str) -> str:
    """A program that ends with supervisord, whose successor starts it again, and that is restarted without limit."""
    return f"""\
[program:{name}]
command={escaped(shlex.join(["setpriv", "--pdeathsig", "TERM", *command]))}
directory={folder}
autorestart=true
startsecs=0
stopwaitsecs=15
redirect_stderr=true
stdout_logfile=%(here)s/{LOGS}/{name}.log
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=2
"""


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or {"http": 80, "https": 443}[parts.scheme]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m release.routing.host", description=__doc__)
    parser.add_argument("--platform", type=Path, required=True, help="a file in dags/platforms/")
    file = parser.parse_args().platform
    try:
        if "AIRFLOW_HOME" not in os.environ:
            raise HostNotReady("AIRFLOW_HOME is not set; set it to the folder that relative paths of the platform file start from")
        conf = prepare(load_platform(file, Path(os.environ["AIRFLOW_HOME"])), file)
    except RetrainingError as error:
        sys.exit(str(error))
    os.execv(sys.executable, [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "--configuration", str(conf)])  # noqa: S606


if __name__ == "__main__":
    main()
