"""What a newcomer reads before anything is installed, for each thing that the machine may lack."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PREFLIGHT = Path(__file__).resolve().parents[2] / "demo" / "preflight.py"
AS_PYTHON_3_9 = f"import runpy, sys; sys.version_info = (3, 9, 2); runpy.run_path({str(PREFLIGHT)!r}, run_name='__main__')"


def java(folder: Path, said: str) -> Path:
    """A `java` that says what versions say, on standard error."""
    folder.mkdir(parents=True)
    (folder / "java").write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}\nEND\n")
    (folder / "java").chmod(0o755)
    return folder


@pytest.fixture
def java_17(tmp_path: Path) -> Path:
    return java(tmp_path / "good", 'openjdk version "17.0.9" 2023-10-17')


def preflight(path: Path, *command: str, folder: Path | None = None, **variables: str) -> tuple[int, list[str]]:
    """Exit code and lines, with nothing on PATH but `path` and what the stub itself needs."""
    environment = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    environment |= {"PATH": f"{path}:/nowhere", **variables}
    for tool in ("cat", "sh"):
        if path.is_dir() and not (path / tool).exists():
            (path / tool).symlink_to(f"/bin/{tool}")
    done = subprocess.run(
        [sys.executable, *(command or (str(PREFLIGHT),))], env=environment, cwd=folder, capture_output=True, text=True
    )
    return done.returncode, done.stderr.splitlines()


def test_a_fit_machine_gets_no_message(java_17):
    assert preflight(java_17) == (0, [])


def test_java_21_will_do(tmp_path):
    assert preflight(java(tmp_path / "bin", 'openjdk version "21" 2023-09-19')) == (0, [])


def test_no_java(tmp_path):
    assert preflight(tmp_path / "empty") == (
        1,
        [
            "preflight: Java 17 or 21 is needed and no java is on PATH: "
            "install one (Debian, Ubuntu: apt install openjdk-17-jre-headless)"
        ],
    )


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ('openjdk version "11.0.2" 2019-01-15', "version 11"),
        ('java version "1.8.0_292"', "version 8"),
        ("this is not Java at all", "of unknown version"),
    ],
)
def test_java_of_another_version(tmp_path, said, version):
    assert preflight(java(tmp_path / "bin", said)) == (
        1,
        [f"preflight: Java 17 or 21 is needed and java on PATH is {version}: put the right one first on PATH"],
    )


def test_java_home_is_what_spark_will_take_whatever_is_on_path(java_17, tmp_path):
    home = java(tmp_path / "jdk" / "bin", 'openjdk version "11.0.2" 2019-01-15').parent

    assert preflight(java_17, JAVA_HOME=str(home)) == (
        1,
        [
            f"preflight: Java 17 or 21 is needed and {home}/bin/java, of JAVA_HOME, is version 11: "
            "unset JAVA_HOME or set it to the right one"
        ],
    )


def test_a_java_home_that_is_gone(java_17):
    assert preflight(java_17, JAVA_HOME="/gone") == (
        1,
        [
            "preflight: Java 17 or 21 is needed and /gone/bin/java, of JAVA_HOME, is not there: "
            "unset JAVA_HOME or set it to the right one"
        ],
    )


def test_another_python_says_so_itself(java_17):
    assert preflight(java_17, "-c", AS_PYTHON_3_9) == (
        1,
        [
            f"preflight: Python 3.11 is needed and {sys.executable} is 3.9: install it (Debian, Ubuntu: apt install python3.11 "
            "python3.11-venv) or name one: make demo PYTHON=/path/to/python3.11"
        ],
    )


def test_an_old_python_can_read_the_file():
    ast.parse(PREFLIGHT.read_text(), feature_version=(3, 4))
    assert not re.search(r"""\bf["']""", PREFLIGHT.read_text()), "f-strings came with 3.6"


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    code, lines = preflight(tmp_path / "empty", "-c", AS_PYTHON_3_9)

    assert code == 1
    assert [line.split(" is needed")[0] for line in lines] == ["preflight: Python 3.11", "preflight: Java 17 or 21"]


def test_a_disk_with_little_room(java_17, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        result = preflight(java_17, folder=disk)
    finally:
        subprocess.run(["umount", disk], check=True)

    assert result == (1, ["preflight: 6 GB of free disk are needed and 0.1 GB are free here: free some space"])
