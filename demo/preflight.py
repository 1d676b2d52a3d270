"""Checks the machine before anything is installed; runs on any Python 3, so that a wrong version is reported, too."""

import os
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
    version = "{}.{}".format(*sys.version_info[:2])
    return (
        "Python 3.11 is needed and {} is {}: install it (Debian, Ubuntu: apt install python3.11 "
        "python3.11-venv) or name one: make demo PYTHON=/path/to/python3.11"
    ).format(sys.executable, version)


def venv_problem():
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        return "this Python cannot make environments: install its venv package (Debian, Ubuntu: apt install python3.11-venv)"
    return None


def java_problem():
    """Spark prefers JAVA_HOME to PATH, and Java 8 calls itself 1.8."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else "java"
    where = "{}, of JAVA_HOME,".format(java) if home else "java on PATH"
    advice = "unset JAVA_HOME or set it to the right one" if home else "put the right one first on PATH"
    if shutil.which(java) is None:
        if home:
            return "Java 17 or 21 is needed and {} is not there: {}".format(where, advice)
        return "Java 17 or 21 is needed and no java is on PATH: install one (Debian, Ubuntu: apt install openjdk-17-jre-headless)"
    text = subprocess.run([java, "-version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout.decode(errors="replace")
    match = re.search(r'version "(?:1\.)?(\d+)', text)
    if match is None or int(match.group(1)) not in GOOD_JAVA:
        version = "version " + match.group(1) if match else "of unknown version"
        return "Java 17 or 21 is needed and {} is {}: {}".format(where, version, advice)
    return None


def disk_problem():
    free = shutil.disk_usage(".").free
    if free >= FREE_BYTES:
        return None
    return "6 GB of free disk are needed and {:.1f} GB are free here: free some space".format(free / 1024**3)


def main():
    problems = [problem for problem in (python_problem(), venv_problem(), java_problem(), disk_problem()) if problem]
    for problem in problems:
        sys.stderr.write("preflight: {}\n".format(problem))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
