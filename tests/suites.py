"""Runs each suite in its own environment, two at a time, and ends with what failed and the counts.

`python -m tests.suites [--integration] [--coverage] [SUITE …]`
"""

import argparse
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests import line_coverage

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = {  # the longest first, so that the last two end together; each that computes beside one that waits
    "spark_jobs": "spark",
    "release": "release",
    "spark_models": "spark",
    "plugins": "airflow",
    "hadoop": "release",
    "spark35": "spark35",
    "contract": "release",
    "serving": "serving",
    "integration": "release",
}
AT_ONCE = 2  # most tests wait for a good part of their time
ALONE = "integration"  # the whole product has the machine for itself
# With --integration only: the jobs' own tests once more on Spark 3.5, not those of plain arithmetic.
JOBS = ("run", "validate", "train", "compare", "tracking", "recipes", "sources", "export_parity", "export_trees")
AGAIN = {"spark35": [f"tests/spark_jobs/test_{name}.py" for name in JOBS]}
# Of the longest suite a part runs on its own, else one core would wait for the other: fits, exports and plain statistics.
MODELS = re.compile(r"test_(block_statistics|export_\w+|features|jackknife|ranking|\w*search\w*|xgboost)\.py")
SPARK = sorted(file.relative_to(ROOT).as_posix() for file in ROOT.glob("tests/spark_jobs/test_*.py"))
FOLDERS = AGAIN | {  # of a suite that is not one folder of its name
    "spark_jobs": [file for file in SPARK if not MODELS.search(file)],
    "spark_models": [file for file in SPARK if MODELS.search(file)],
    "contract": ["tests/contract", "tests/images", "tests/demo", "tests/project"],
}
MINUTES = (*AGAIN, "hadoop", ALONE)  # all of whose tests need minutes of services
STATES = ("passed", "failed", "skipped")
NO_TESTS_COLLECTED = 5


class Result(NamedTuple):
    counts: Counter
    failures: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        return f"{' '.join(f'{self.counts[state]:>5} {state}' for state in STATES)} {self.seconds:5.0f} s"


class Options(NamedTuple):
    integration: bool
    coverage: bool


def run_suite(suite: str, options: Options) -> Result:
    """What it says is shown when it has ended, and stays in .build; a run that breaks before it counts anything is one failure."""
    report, log = ROOT / ".build" / f"{suite}.xml", ROOT / ".build" / f"{suite}.log"
    report.unlink(missing_ok=True)
    started = time.monotonic()
    with log.open("wb") as said:
        code = subprocess.run(
            command(suite, options, report), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        ).returncode
    ran = report.exists() and code != NO_TESTS_COLLECTED
    counts, failures = (count(report), failures_in(report)) if ran else (Counter(), ())
    if code not in (0, NO_TESTS_COLLECTED) and not counts["failed"]:
        counts["failed"] += 1
        failures = (f"{suite} ended with code {code}: read {log.relative_to(ROOT)}",)
    result = Result(counts, failures, time.monotonic() - started)
    print(f"{log.read_text(errors='replace')}{suite:<12} {result}\n", flush=True)
    return result


def paths_of(suite: str) -> list[str]:
    return FOLDERS.get(suite, [f"tests/{suite}"])


def command(suite: str, options: Options, report: Path) -> list[str]:
    python = ROOT / ".venv" / ENVIRONMENTS[suite] / "bin" / "python"
    marker = "integration" if options.integration and suite not in AGAIN else "not integration"
    tests = ["-m", "pytest", "-q", *paths_of(suite), "-m", marker, f"--junitxml={report}", "--durations=5"]
    return [str(python), *(line_coverage.python_options(suite) if options.coverage else []), *tests]


def run_all(suites: list[str], options: Options) -> dict[str, Result]:
    run = partial(run_suite, options=options)
    beside = [suite for suite in suites if suite != ALONE]
    print(f"{', '.join(suites)}: {AT_ONCE} at a time, each is shown when it has ended; see .build/ until then", flush=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = dict(zip(beside, pool.map(run, beside), strict=True))
    return results | ({ALONE: run(ALONE)} if ALONE in suites else {})


def count(report: Path) -> Counter:
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    total, failed, skipped = (int(suite.get(name, 0)) for name in ("tests", "failures", "skipped"))
    failed += int(suite.get("errors", 0))
    return Counter(passed=total - failed - skipped, failed=failed, skipped=skipped)


def failures_in(report: Path) -> tuple[str, ...]:
    """The name of each test that failed, with the first line of why."""
    cases = ElementTree.parse(report).getroot().iter("testcase")
    failed = ((case, problem) for case in cases for problem in case if problem.tag in ("failure", "error"))
    named = ((f"{case.get('classname')}::{case.get('name')}", problem.get("message", "")) for case, problem in failed)
    return tuple(f"{test}: {why.partition(chr(10))[0][:300]}" for test, why in named)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[*ENVIRONMENTS, []], metavar="SUITE")
    parser.add_argument("--integration", action="store_true")
    parser.add_argument("--coverage", action="store_true", help="with --integration after a run without: report both together")
    arguments = parser.parse_args()
    options = Options(arguments.integration, arguments.coverage)
    (ROOT / ".build").mkdir(exist_ok=True)
    if options.coverage and not options.integration:
        line_coverage.forget()
    chosen = arguments.suites or [suite for suite in ENVIRONMENTS if options.integration or suite not in MINUTES]
    results = run_all([suite for suite in ENVIRONMENTS if suite in chosen], options)
    uncovered = line_coverage.report() if options.coverage and options.integration else []
    return show(results, uncovered)


def show(results: dict[str, Result], uncovered: list[str]) -> int:
    """The exit code. The counts come last: where a log is cut, its end is kept."""
    total = sum((result.counts for result in results.values()), Counter())
    print("", *uncovered, *(f"FAILED {failure}" for result in results.values() for failure in result.failures), sep="\n")
    for suite, result in results.items():
        print(f"{suite:<12} {result}")
    print(", ".join(f"{total[state]} {state}" for state in STATES))
    return 1 if total["failed"] or uncovered or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
