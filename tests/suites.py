"""Runs each room's tests in its own environment and ends with the counts: `python tests/suites.py [--integration] [SUITE …]`."""

import argparse
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = {
    "unit": "release",
    "serving": "serving",
    "release": "release",
    "dags": "airflow",
    "spark": "spark",
    "hadoop": "release",
    "integration": "release",
    "spark35": "spark35",
}
# With --integration only: the jobs' own tests once more on Spark 3.5, not those of plain arithmetic.
JOBS = ("run", "validate", "train", "compare", "tracking", "recipes", "sources", "export_parity", "export_trees")
AGAIN = {"spark35": [f"tests/spark/test_{name}.py" for name in JOBS]}
BESIDE = {"dags": ("spark", "spark35", "hadoop")}  # with --integration: tests on a cluster wait for most of their time
STATES = ("passed", "failed", "skipped")
NO_TESTS_COLLECTED = 5


class Result(NamedTuple):
    counts: Counter
    seconds: float


def run_suite(suite: str, integration: bool, said: IO[str] | None = None) -> Counter:
    """Counts of one suite; a run that breaks before it counts anything is one failure."""
    places = AGAIN.get(suite, [f"tests/{suite}"])
    marker = "integration and not long" if integration and suite not in AGAIN else "not integration"
    report = ROOT / ".build" / f"{suite}.xml"
    report.unlink(missing_ok=True)
    python = ROOT / ".venv" / ENVIRONMENTS[suite] / "bin" / "python"
    command = [str(python), "-m", "pytest", "-q", *places, "-m", marker, f"--junitxml={report}", "--durations=5"]
    code = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=said).returncode
    if code == NO_TESTS_COLLECTED:
        return Counter()
    counts = count(report) if report.exists() else Counter()
    if code and not counts["failed"]:
        counts["failed"] += 1
    return counts


def run_lane(suites: Iterable[str], integration: bool, said: IO[str] | None = None) -> dict[str, Result]:
    """One after another."""
    results = {}
    for suite in suites:
        started = time.monotonic()
        counts = run_suite(suite, integration, said)
        results[suite] = Result(counts, time.monotonic() - started)
    return results


def run_beside(first: str, others: tuple[str, ...], integration: bool) -> dict[str, Result]:
    """What the others say is shown when both are done."""
    with ThreadPoolExecutor(1) as pool, (ROOT / ".build" / "beside.log").open("w+") as said:
        meanwhile = pool.submit(run_lane, others, integration, said)
        results = run_lane([first], integration) | meanwhile.result()
        said.seek(0)
        print(said.read())
        return results


def run_all(suites: list[str], integration: bool) -> dict[str, Result]:
    results: dict[str, Result] = {}
    for suite in suites:
        others = BESIDE.get(suite, ()) if integration else ()
        if suite in results:
            continue
        if others and set(others) <= set(suites):
            results |= run_beside(suite, others, integration)
        else:
            results |= run_lane([suite], integration)
    return results


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
    suites = asked.suites or [suite for suite in ENVIRONMENTS if asked.integration or suite not in AGAIN]
    results = run_all(suites, asked.integration)
    total = sum((result.counts for result in results.values()), Counter())
    print()
    for suite, (counts, seconds) in results.items():
        print(f"{suite:<12} {' '.join(f'{counts[state]:>5} {state}' for state in STATES)} {seconds:5.0f} s")
    print(", ".join(f"{total[state]} {state}" for state in STATES))
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
