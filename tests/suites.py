"""Runs each room's tests in its own environment and ends with the counts: `python tests/suites.py [--integration] [SUITE …]`."""

import argparse
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = {
    "unit": "release",
    "serving": "serving",
    "release": "release",
    "dags": "airflow",
    "spark": "spark",
    "integration": "release",
    "spark35": "spark35",
}
AGAIN = {"spark35": "spark"}  # the same tests in an environment of its own: minutes, so only with --integration
STATES = ("passed", "failed", "skipped")
NO_TESTS_COLLECTED = 5


def run_suite(suite: str, integration: bool) -> Counter:
    """Counts of one suite; a run that breaks before it counts anything is one failure."""
    folder, marker = AGAIN.get(suite, suite), "integration" if integration and suite not in AGAIN else "not integration"
    report = ROOT / ".build" / f"{suite}.xml"
    report.unlink(missing_ok=True)
    python = ROOT / ".venv" / ENVIRONMENTS[suite] / "bin" / "python"
    command = [str(python), "-m", "pytest", "-q", f"tests/{folder}", "-m", marker, f"--junitxml={report}", "--durations=5"]
    code = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode
    if code == NO_TESTS_COLLECTED:
        return Counter()
    counts = count(report) if report.exists() else Counter()
    if code and not counts["failed"]:
        counts["failed"] += 1
    return counts


def count(report: Path) -> Counter:
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    total, failed, skipped = (int(suite.get(name, 0)) for name in ("tests", "failures", "skipped"))
    failed += int(suite.get("errors", 0))
    return Counter(passed=total - failed - skipped, failed=failed, skipped=skipped)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[*ENVIRONMENTS, []], metavar="SUITE")
    parser.add_argument("--integration", action="store_true")
    asked = parser.parse_args()
    (ROOT / ".build").mkdir(exist_ok=True)
    total: Counter = Counter()
    lines = []
    for suite in asked.suites or [suite for suite in ENVIRONMENTS if asked.integration or suite not in AGAIN]:
        started = time.monotonic()
        counts = run_suite(suite, asked.integration)
        total += counts
        said = " ".join(f"{counts[state]:>5} {state}" for state in STATES)
        lines.append(f"{suite:<12} {said} {time.monotonic() - started:5.0f} s")
    print("\n" + "\n".join(lines))
    print(", ".join(f"{total[state]} {state}" for state in STATES))
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
