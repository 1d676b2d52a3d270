"""Looks at the machine before anything is installed; written for any Python 3, so that a wrong one can say so."""

import re
import shutil
import subprocess
import sys

NEEDED_PYTHON = (3, 11)
GOOD_JAVA = (17, 21)
FREE_BYTES = 6 * 1024**3


def python_problem():
    if sys.version_info[:2] == NEEDED_PYTHON:
        return None
    found = "{}.{}".format(*sys.version_info[:2])
    return (
        f"Python 3.11 is needed and {sys.executable} is {found}: install it (Debian, Ubuntu: apt install python3.11 "
        "python3.11-venv) or name one: make demo PYTHON=/path/to/python3.11"
    )


def venv_problem():
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        return "this Python cannot make environments: install its venv package (Debian, Ubuntu: apt install python3.11-venv)"
    return None


def java_problem():
    if shutil.which("java") is None:
        return "Java 17 or 21 is needed and no java is on PATH: install one (Debian, Ubuntu: apt install openjdk-17-jre-headless)"
    text = subprocess.run(["java", "-version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout.decode(errors="replace")
    match = re.search(r'version "(\d+)', text)
    if match is None or int(match.group(1)) not in GOOD_JAVA:
        found = match.group(1) if match else "unknown"
        return f"Java 17 or 21 is needed and `java` on PATH is version {found}: put the right one first on PATH"
    return None


def disk_problem():
    free = shutil.disk_usage(".").free
    if free >= FREE_BYTES:
        return None
    return f"6 GB of free disk are needed and {free / 1024**3:.1f} GB are free here: free some space"


def main():
    problems = [problem for problem in (python_problem(), venv_problem(), java_problem(), disk_problem()) if problem]
    for problem in problems:
        print(f"preflight: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
