"""What a text of the project names exists: so that whatever is moved or renamed takes its mentions along."""

import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests import suites
from tests.project.references import (
    DOTTED,
    FILE,
    IMPORTED,
    LINK,
    MAKE,
    ROOT,
    RUN_AS_MODULE,
    Reference,
    anchors,
    can_be_run,
    in_strings,
    is_module,
    is_symbol,
    make_targets,
    matches,
    texts,
)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
THIS = Path(__file__)
TEXTS = [*texts(".md", ".toml", ".yaml", ".sh"), ROOT / "Makefile", ROOT / ".ci" / "run"]
CODE = [path for path in texts(".py") if path != THIS]


def absent(references: Iterable[Reference], exists: Callable[[str], bool]) -> list[str]:
    return [f"{where} names {name}, which does not exist" for where, name in references if not exists(name)]


@pytest.mark.parametrize(
    ("pattern", "text", "names"),
    [
        (RUN_AS_MODULE, "python -m release.controller.loop --platform x", ["release.controller.loop"]),
        (RUN_AS_MODULE, "python -m pytest tests/release", []),
        (FILE, "see `tests/release/test_traefik.py`, docs/gate.md#blocks", ["tests/release/test_traefik.py", "docs/gate.md"]),
        (FILE, "/elsewhere/tests/x.py and dags/models/*.yaml", []),
        (DOTTED, "`release.ledger.ledger.Ledger` and `serving.hold`", ["release.ledger.ledger.Ledger"]),
        (LINK, "[a](docs/gate.md#blocks) [b](https://x)", ["docs/gate.md#blocks", "https://x"]),
        (MAKE, "`make demo PLATFORM=yarn`, `make test-integration`", ["demo", "test-integration"]),
        (IMPORTED, "import x; from spark_jobs.run import main", ["spark_jobs.run"]),
    ],
)
def test_what_a_text_names(pattern: re.Pattern, text: str, names: list[str]) -> None:
    assert pattern.findall(text) == names


@pytest.mark.parametrize(
    ("exists", "name", "expected"),
    [
        (can_be_run, "release", True),
        (can_be_run, "release.controller", False),
        (is_module, "release.controller.loop", True),
        (is_module, "release.world", False),
        (is_symbol, "release.ledger.ledger.Ledger.last", True),
        (is_symbol, "release.ledger.ledger.Journal", False),
    ],
)
def test_what_exists(exists: Callable[[str], bool], name: str, expected: bool) -> None:
    assert exists(name) is expected


def test_each_module_that_is_to_be_run_can_be_run() -> None:
    written = [reference for path in TEXTS for reference in matches(RUN_AS_MODULE, path)]
    coded = [reference for path in CODE for reference in in_strings(RUN_AS_MODULE, path)]

    assert len(written) > 5
    assert len(coded) > 20
    assert absent([*written, *coded], can_be_run) == []


def test_each_module_that_a_text_of_code_imports_exists() -> None:
    assert absent((reference for path in CODE for reference in in_strings(IMPORTED, path)), is_module) == []


def test_each_job_has_the_module_that_its_name_leads_to() -> None:
    from contract.documents import JobRequest

    jobs = JobRequest.model_fields["job"].annotation.__args__
    assert 'f"spark_jobs.jobs.{' in (ROOT / "spark_jobs" / "run.py").read_text()
    assert [job for job in jobs if not is_module(f"spark_jobs.jobs.{job}")] == []


def test_each_file_that_is_named_exists() -> None:
    written = [reference for path in TEXTS for reference in matches(FILE, path)]
    documented = [reference for path in CODE if "tests" not in path.parts for reference in in_strings(FILE, path)]

    assert len(written) > 30
    assert absent([*written, *documented], lambda name: (ROOT / name).exists()) == []


def test_each_dotted_name_in_backticks_exists() -> None:
    pages = [reference for path in texts(".md") for reference in matches(DOTTED, path)]

    assert absent(pages, is_symbol) == []


def test_each_link_leads_to_a_page_and_its_heading() -> None:
    def exists(target: str, page: Path) -> bool:
        name, _, anchor = target.partition("#")
        there = (page.parent / name) if name else page
        return there.exists() and (not anchor or anchor in anchors(there))

    links = [(page, link) for page in texts(".md") for link in matches(LINK, page) if "://" not in link.name]
    assert len(links) > 20
    assert [f"{link.where}: {link.name}" for page, link in links if not exists(link.name, page)] == []


def test_each_target_of_make_exists() -> None:
    written = [reference for path in [*TEXTS, *CODE] for reference in matches(MAKE, path)]

    assert len(written) > 10
    assert absent(written, lambda name: name in make_targets()) == []


def test_each_module_that_import_linter_watches_exists() -> None:
    watched = []
    for contract in PROJECT["tool"]["importlinter"]["contracts"]:
        layers = [name for layer in contract.get("layers", []) for name in re.split(r"[|:]", layer)]
        watched += [*contract.get("source_modules", []), *contract.get("forbidden_modules", []), *layers]
    ours = [name.strip() for name in watched if is_module(name.strip().partition(".")[0])]

    assert len(ours) > 40
    assert [name for name in ours if not is_module(name)] == []


def test_each_pattern_of_ruffs_exceptions_matches_a_file() -> None:
    patterns = PROJECT["tool"]["ruff"]["lint"]["per-file-ignores"]
    choices = [(pattern, re.findall(r"\{(.+?)\}", pattern)) for pattern in patterns]
    single = [
        re.sub(r"\{.+?\}", part, pattern) for pattern, groups in choices for part in (groups[0].split(",") if groups else [""])
    ]

    assert [pattern for pattern in single if not any(ROOT.glob(pattern))] == []


def test_each_test_file_belongs_to_one_suite() -> None:
    folders = [folder for suite in suites.ENVIRONMENTS if suite not in suites.AGAIN for folder in suites.paths_of(suite)]
    files = [path.relative_to(ROOT).as_posix() for path in texts(".py") if path.name.startswith("test_")]

    assert [path for suite in suites.AGAIN for path in suites.paths_of(suite) if not (ROOT / path).exists()] == []
    assert [file for file in files if sum(file.startswith(f"{folder}/") for folder in folders) != 1] == []


@pytest.mark.parametrize("module", ["plugins/retraining/freeze_run.py", "plugins/retraining/engines/artifact_staging.py"])
def test_the_folders_of_the_code_hash_and_of_the_zip_exist(module: str) -> None:
    (folders,) = re.findall(r"^ROOMS = \((.+)\)", (ROOT / module).read_text(), flags=re.MULTILINE)

    assert [folder for folder in re.findall(r'"(\w+)"', folders) if not (ROOT / folder).is_dir()] == []
