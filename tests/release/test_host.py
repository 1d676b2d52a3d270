import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
import yaml

from contract.platform import Platform
from release.routing.host import HostNotReady, prepare
from tests.release.local import a_platform, answers, until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home() -> Iterator[Path]:
    """With characters that a configuration file could trip over."""
    with tempfile.TemporaryDirectory(prefix="host d'é-") as folder:
        yield Path(folder)


@pytest.fixture
def platform(home) -> Platform:
    return a_platform(home, home / "venv/bin/python")


def written(platform: Platform, home: Path) -> Path:
    file = home / "local.yaml"
    file.write_text(yaml.safe_dump(platform.model_dump(mode="json", exclude={"name"})))
    return file


def command(file: Path, home: Path) -> subprocess.Popen:
    environment = {**os.environ, "AIRFLOW_HOME": str(home)}
    arguments = [sys.executable, "-m", "release.routing.host", "--platform", str(file)]
    return subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_one_command_runs_the_router_and_the_controller_until_it_is_told_to_stop(platform, home):
    process = command(written(platform, home), home)
    until(lambda: answers(f"{platform.serving.router_api}/api/overview"), "Traefik answers")
    log = home / "serving/logs/controller.log"
    until(lambda: log.exists() and "at least once a second" in log.read_text(), "the controller works")

    assert httpx.get(platform.serving.url, trust_env=False).status_code == 404
    assert httpx.get(f"{platform.serving.url}/metrics", trust_env=False).status_code == 404

    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert not answers(f"{platform.serving.router_api}/api/overview")


def test_the_router_waits_for_slow_servers_but_not_forever_and_counts_finely(platform, home):
    prepare(platform, home / "local.yaml")

    static = yaml.safe_load((home / "serving/traefik.yml").read_text())

    assert static["serversTransport"]["forwardingTimeouts"]["responseHeaderTimeout"] == "10s"
    assert static["providers"]["providersThrottleDuration"] == "100ms"
    assert all(entry["address"].startswith("127.0.0.1:") for entry in static["entryPoints"].values())
    buckets = static["metrics"]["prometheus"]["buckets"]
    assert buckets == sorted(buckets)
    assert max(high / low for low, high in pairwise(buckets)) <= 2


@pytest.mark.parametrize("key", ["url", "router_api"])
def test_a_port_in_use_is_named_with_the_key_to_change(platform, home, key):
    url = getattr(platform.serving, key)
    port = int(url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        process = command(written(platform, home), home)

        said = process.communicate(timeout=30)[0]

    file = home / "local.yaml"
    assert said == f"port {port} on 127.0.0.1 is in use; stop what uses it, or change serving.{key} in {file}\n"
    assert process.returncode == 1


def test_a_home_too_deep_for_a_socket_is_refused(platform, home):
    deep = platform.model_copy(update={"serving": platform.serving.model_copy(update={"home": "/tmp/" + "x" * 90})})

    with pytest.raises(HostNotReady, match=r"longer than 107 bytes.*shorten serving\.home in local\.yaml"):
        prepare(deep, Path("local.yaml"))


@pytest.mark.parametrize("name", ["100%", "a;b"])
def test_a_home_that_supervisord_would_misread_is_refused(platform, home, name):
    odd = platform.model_copy(update={"serving": platform.serving.model_copy(update={"home": str(home / name)})})

    with pytest.raises(
        HostNotReady, match=r"contains a percent sign, a semicolon or a line end; change serving\.home in local\.yaml"
    ):
        prepare(odd, Path("local.yaml"))


def test_a_platform_file_with_mistakes_is_told_in_one_line(platform, home):
    file = written(platform, home)
    file.write_text(file.read_text() + "colour: blue\n")

    process = command(file, home)

    assert process.communicate(timeout=30)[0].startswith(f"{file}: 1 problem: colour: unknown key")


def test_without_airflows_home_nothing_starts(home):
    process = subprocess.run(
        [sys.executable, "-m", "release.routing.host", "--platform", "local.yaml"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )

    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.startswith("AIRFLOW_HOME is not set; set it to the folder")
