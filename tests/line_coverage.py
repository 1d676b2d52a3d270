"""Line coverage of the packages that decide what serves, over the unit and the integration tests of `.ci/run` together."""

import json
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / ".build" / "coverage"  # one file for each process; pyproject.toml names the packages
LEAST_PERCENT = 95
SUITES = ("contract", "release", "plugins", "hadoop")  # those that run the packages


def forget() -> None:
    shutil.rmtree(DATA, ignore_errors=True)


def python_options(suite: str) -> list[str]:
    """What stands between the interpreter and `-m pytest`."""
    return ["-m", "coverage", "run"] if suite in SUITES else []


def report() -> list[str]:
    """A sentence for each module below the least; prints the coverage of all."""
    _coverage("combine", "--quiet", "--keep")
    _coverage("json", "--quiet", "-o", str(DATA / "report.json"))
    measured = json.loads((DATA / "report.json").read_text())
    print(f"line coverage: {measured['totals']['percent_covered']:.1f} % of {len(measured['files'])} modules")
    return [
        f"{name}: {file['summary']['percent_covered']:.1f} % of its lines are covered, not {LEAST_PERCENT}: "
        f"test lines {', '.join(map(str, file['missing_lines']))}"
        for name, file in measured["files"].items()
        if file["summary"]["percent_covered"] < LEAST_PERCENT
    ]


def _coverage(*arguments: str) -> None:
    subprocess.run([ROOT / ".venv/release/bin/python", "-m", "coverage", *arguments], cwd=ROOT, check=True)
