import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from contract.documents import Image
from contract.errors import PermanentError
from release.targets.base import Server
from release.targets.process import HostUnreachable, ProcessTarget, WrongEnvironment
from tests.release.local import LocalHost, ready, until


@pytest.fixture
def target(host) -> ProcessTarget:
    return ProcessTarget(host.serving)


@pytest.fixture
def own_host() -> Iterator[LocalHost]:
    """For tests that kill or spoil it."""
    with tempfile.TemporaryDirectory(prefix="host-") as folder:
        yield LocalHost(Path(folder))


def running(target: ProcessTarget, image: Image) -> list[Server]:
    return [server for server in target.servers() if (server.model, server.digest) == (image.model, image.digest)]


def started(target: ProcessTarget, image: Image, count: int = 1) -> list[Server]:
    target.ensure(image, count)
    until(lambda: len(running(target, image)) == count and all(map(ready, running(target, image))), f"{count} servers are ready")
    return running(target, image)


def pid_of(server: Server) -> int:
    return httpx.post(f"{server.url}/", json={}, trust_env=False).json()["pid"]


def test_servers_are_named_by_model_digest_and_number_and_say_their_version(host, target):
    image = host.image(7, "named")

    servers = started(target, image, 2)

    assert [server.name for server in servers] == [f"named-{image.digest[7:19]}-0", f"named-{image.digest[7:19]}-1"]
    assert len({server.url for server in servers}) == 2
    assert httpx.post(f"{servers[0].url}/", json={}, trust_env=False).json()["version"] == "7"
    target.stop("named", image.digest)


def test_a_server_sees_only_its_own_environment(host, target, monkeypatch):
    image = host.image(1, "secretless")

    (server,) = started(target, image)
    environment = httpx.get(f"{server.url}/environment", trust_env=False).json()

    environment.pop("LC_CTYPE", None)  # Python's own
    environment.pop("PWD", None)
    assert environment == {
        "MODEL_NAME": "secretless",
        "MODEL_VERSION": "1",
        "IMAGE_DIGEST": image.digest,
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    target.stop("secretless", image.digest)


def test_a_repeated_ensure_changes_nothing_and_another_count_starts_or_stops(host, target):
    image = host.image(1, "counted")
    first = started(target, image, 2)
    pids = [pid_of(server) for server in first]

    assert started(target, image, 2) == first
    assert [pid_of(server) for server in first] == pids
    assert started(target, image, 3)[:2] == first
    assert started(target, image, 1) == first[:1]
    assert pid_of(first[0]) == pids[0]
    target.stop("counted", image.digest)


def test_a_stopped_digest_is_gone_with_its_process_and_another_stays(host, target):
    old, new = host.image(1, "swapped"), host.image(2, "swapped")
    (gone,), (kept,) = started(target, old), started(target, new)
    pid = pid_of(gone)

    target.stop("swapped", old.digest)

    until(lambda: not psutil.pid_exists(pid), "the process has ended")
    assert running(target, old) == []
    assert running(target, new) == [kept]
    assert ready(kept)
    target.stop("swapped", new.digest)


def test_a_killed_server_comes_back_on_its_own_port(host, target):
    image = host.image(1, "killed")
    (server,) = started(target, image)
    pid = pid_of(server)

    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid) and ready(server), "it answers again")

    assert pid_of(server) != pid
    assert running(target, image) == [server]
    target.stop("killed", image.digest)


def test_a_new_controller_finds_what_runs(host, target):
    image = host.image(1, "found")
    servers = started(target, image)

    assert running(ProcessTarget(host.serving), image) == servers
    target.stop("found", image.digest)


def test_memory_is_that_of_the_process(host, target):
    image = host.image(1, "weighed")
    (server,) = started(target, image)

    memory_mb = target.memory_mb(server)

    process = psutil.Process(pid_of(server))
    assert memory_mb == pytest.approx(process.memory_full_info().pss / 2**20, rel=0.2)
    target.stop("weighed", image.digest)
    until(lambda: target.memory_mb(server) is None, "no process, no memory")


def test_an_unpacked_file_that_was_altered_is_not_served_by_a_restart_and_then_repaired(host, target):
    image = host.image(1, "spoilt")
    (server,) = started(target, image)
    model = Path(host.serving.home, "images", image.digest[7:], "models/current/model.json")
    model.chmod(0o644)
    model.write_text('{"status": 500}')

    os.kill(pid_of(server), signal.SIGKILL)
    until(lambda: not ready(server), "it has died")
    log = Path(host.serving.home, "logs", f"{server.name}.log")
    until(lambda: "models/current/model.json: FAILED" in log.read_text(), "its restart was refused")
    assert not ready(server)

    until(lambda: target.ensure(image, 1) or (running(target, image) and ready(server)), "the controller repairs it", seconds=30)
    assert model.read_text() == "{}"
    target.stop("spoilt", image.digest)


def test_another_lock_than_the_hosts_starts_nothing(host, target):
    host.lock.write_text("stand-in==2\n")
    try:
        with pytest.raises(WrongEnvironment, match=r"version 4 of locked was packaged for other packages .* run `make setup`"):
            target.ensure(host.image(4, "locked"), 1)
    finally:
        host.lock.write_text("stand-in==1\n")
    assert not [server for server in target.servers() if server.model == "locked"]


def test_a_host_without_supervisord_says_how_to_start_it(own_host):
    with pytest.raises(HostUnreachable, match=r"supervisor\.sock .*start supervisord: python -m release\.routing\.host"):
        ProcessTarget(own_host.serving).servers()


def test_nothing_outlives_a_killed_supervisord_and_the_next_one_starts_all_again(own_host):
    pid = own_host.start({"SECRET": "s3cr3t", "PATH": os.environ["PATH"]})
    target, image = ProcessTarget(own_host.serving), own_host.image(1)
    kept, stopped = started(target, image), started(target, own_host.image(2))
    assert "SECRET" not in httpx.get(f"{kept[0].url}/environment", trust_env=False).json()
    target.stop("late", stopped[0].digest)
    children = psutil.Process(pid).children(recursive=True)

    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs(children, timeout=15)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]

    own_host.start()
    until(lambda: target.servers() == kept and ready(kept[0]), "the server is back at its address, the stopped one is not")
    own_host.stop()
    assert not ready(kept[0])


def test_a_platform_without_servings_interpreter_is_refused(host):
    with pytest.raises(WrongEnvironment, match=r"serving\.python is missing"):
        ProcessTarget(host.serving.model_copy(update={"python": None}))


def test_a_file_that_is_no_servers_configuration_is_named(own_host):
    target = ProcessTarget(own_host.serving)
    stray = target._conf("stray-000000000000-0")
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_text("; not a server\n")

    with pytest.raises(PermanentError, match=rf"{stray} is no server's configuration; remove it"):
        target._configured()


def test_what_supervisord_refuses_is_said_in_its_words(host, target):
    with pytest.raises(HostUnreachable, match=r"refused startProcess.*BAD_NAME"):
        target._call_supervisor("startProcess", "absent-000000000000-0")
