"""What keeps a demo from starting: a port that is taken, another demo in the same folder, a service that does not answer."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from contract.errors import StoreError
from demo.paths import PORTS
from demo.services import DemoError, check_ports, tell

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_in_use_is_named_with_who_needs_it_and_how_to_find_its_owner():
    with listening() as port, pytest.raises(DemoError) as raised:
        check_ports({port: "MLflow"})

    assert str(raised.value) == (
        f"port {port}, which MLflow needs, is taken: find its owner with `ss -ltnp 'sport = :{port}'`, "
        "stop what you find, and try again"
    )


def test_all_ports_in_use_are_named_at_once():
    with listening() as one, listening() as two, pytest.raises(DemoError) as raised:
        check_ports({one: "MLflow", two: "Airflow"})

    assert str(raised.value) == (
        f"port {one}, which MLflow needs, and port {two}, which Airflow needs, are taken: "
        f"find their owners with `ss -ltnp 'sport = :{one} or sport = :{two}'`, stop what you find, and try again"
    )


def test_a_port_that_was_just_left_is_free():
    """Its last connections may still be waiting for their end."""
    with listening() as port, socket.create_connection(("127.0.0.1", port)):
        pass

    check_ports({port: "MLflow"})


def test_every_service_has_a_port_of_its_own():
    assert sorted(PORTS.values()) == ["Airflow", "MLflow", "Slack's stand-in", "mail", "the router", "the router's API"]


HOLD = "import sys\nfrom demo.run import only_one\nwith only_one():\n    print('held', flush=True)\n    sys.stdin.read()\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout with a `.demo/` of its own."""
    shutil.copytree(ROOT / "demo", tmp_path / "demo", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    return subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, text=True, **pipes)


def test_a_second_demo_says_so_and_leaves_the_first_alone_and_a_killed_one_holds_nothing(folder):
    with start(folder, "-c", HOLD) as first:
        assert first.stdout.readline() == "held\n"

        with start(folder, "-m", "demo.run") as second:
            _, said = second.communicate(timeout=60)
        assert (second.returncode, said) == (
            1,
            "\ndemo: another `make demo` is at work in this folder: wait for it, or end it and `make stop`\n",
        )
        assert first.poll() is None

        first.kill()
    with start(folder, "-c", HOLD) as third:
        assert third.communicate(timeout=60)[0] == "held\n"


def raising(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (DemoError("port 5000 is taken"), "port 5000 is taken"),
        (StoreError("/store/a.json could not be read"), "/store/a.json could not be read"),
        (
            httpx.ConnectError("Connection refused"),
            "a service does not answer (Connection refused): read `make status`; `make demo` goes on with what is live",
        ),
        (
            KeyboardInterrupt(),
            "interrupted; the services run on: `make demo` goes on with what is live, `make stop` ends them",
        ),
    ],
)
def test_what_ends_a_demo_early_is_one_sentence(capsys, error, sentence):
    assert tell(lambda: raising(error)) == 1
    assert capsys.readouterr().err == f"\ndemo: {sentence}\n"
