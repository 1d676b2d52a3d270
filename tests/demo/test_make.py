"""The commands that must work whatever state the folder is in: not set up, set up by half, used."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IGNORED = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with only the files that `make` and git read."""
    for name in (
        "MAKEFLAGS",
        "MFLAGS",
        "MAKELEVEL",
    ):  # the tests themselves may run under a make, and these variables would pass its options on
        monkeypatch.delenv(name, raising=False)
    for name in ("Makefile", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "kept.py").write_text("")
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def make(folder: Path, target: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", target], cwd=folder, capture_output=True, text=True, timeout=60)


def strange_files(folder: Path) -> list[str]:
    """What git does not know or ignores."""
    command = ["git", "status", "--porcelain", "--ignored"]
    lines = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.splitlines()
    return [line for line in lines if line.startswith(("!!", "??"))]


def test_clean_leaves_nothing_behind(folder):
    for name in IGNORED:
        for path in (folder / name, *([folder / "package" / name] if name == "__pycache__" else [])):
            path.mkdir(parents=True)
            (path / "file").write_text("")
    assert len(strange_files(folder)) == len(IGNORED) + 1

    cleaned = make(folder, "clean")

    assert (cleaned.returncode, cleaned.stderr) == (0, "")
    assert strange_files(folder) == []
    assert (folder / "kept.py").exists()


def test_clean_and_stop_work_where_the_set_up_broke_off(folder):
    python = folder / ".venv" / "release" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho it has no packages >&2\nexit 1\n")
    python.chmod(0o755)

    assert make(folder, "stop").returncode == 0
    assert make(folder, "clean").returncode == 0
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize("target", ["status", "demo-failures"])
def test_what_needs_the_set_up_says_so(folder, target):
    result = make(folder, target)

    assert result.returncode != 0
    assert result.stdout == "nothing is set up yet: run make demo\n"


def test_a_second_demo_waits_for_the_set_up_of_the_first(folder):
    (folder / ".demo").mkdir()
    with (folder / ".demo" / "setup.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        command = ["make", "demo", "PYTHON=true"]  # whose own set-up ends at once
        second = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert second.stdout.readline() == "another set-up is at work in this folder: waiting for it\n"
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(timeout=1)
    assert "setting up .venv/" in second.communicate(timeout=30)[0]


def test_make_alone_lists_every_command(folder):
    listed = subprocess.run(["make"], cwd=folder, capture_output=True, text=True, check=True).stdout.splitlines()

    names = [line.split()[1] for line in listed]
    assert {"demo", "demo-failures", "test", "lint", "bench", "status", "stop", "clean"} <= set(names)
    assert all(len(line.split()) > 3 for line in listed)
