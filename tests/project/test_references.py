"""What is named as text, where no import would notice that it has moved, is there."""

import ast
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import suites
from tests.project import references as names
from tests.project.references import PACKAGES, ROOT, where

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULE_KEYS = {"root_packages", "source_modules", "forbidden_modules", "modules", "layers", "containers", "module", "packages"}
OTHERS = {"airflow", "mlflow", "pydantic", "pyspark"}  # packages that are not ours, but are named beside them
NOT_HERE = {  # made while something runs, in a home or a copy of the repository; or absent on purpose
    *("serving/commands/late.rollback", "serving/logs/controller.log", "serving/supervisor.sock"),
    *("serving/traefik.yml", "images/blobs/sha256", "images/index.json", "images/oci-layout", "dags/benchmark"),
    *("dags/models/absent.sql", "dags/models/any.yaml", "dags/models/trip_delay.yaml", "expectations/nothing_here.json"),
}


def refuse(problems: list[str]) -> None:
    """All at once, where a comparison would show the first."""
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


def problems(find: Callable[[str], list[str]], good: Callable[[str], bool]) -> list[str]:
    expanded = [(at, name) for at, text in names.texts() for written in find(text) for name in names.expanded(written)]
    return [problem(at, name) for at, name in expanded if not good(name)]


def problem(at: str, name: object) -> str:
    return f"{at} names {name}, which does not exist"


def built_paths() -> Iterator[tuple[str, Path]]:
    for file in names.python_files():
        yield from ((where(file, line), path) for line, path in names.built_paths(file.read_text(), file))


def test_each_folder_of_python_is_known_to_these_tests():
    assert {path.parts[len(ROOT.parts)] for path in ROOT.glob("[a-z]*/**/*.py")} == set(PACKAGES)


def test_commands_start_modules_that_are_there():
    refuse(problems(names.COMMAND.findall, names.runs))
    listed = [
        (file, line, name)
        for file in names.python_files()
        for line, written in names.commands(file.read_text())
        for name in names.expanded(written)
    ]
    refuse([problem(where(file, line), name) for file, line, name in listed if not names.runs(name)])


def test_dotted_names_are_modules_or_what_these_define():
    refuse(problems(names.dotted_names, names.resolves))


def test_paths_are_there():
    refuse(problems(names.PATH.findall, lambda path: path in NOT_HERE or names.exists(path)))


def test_files_named_without_a_folder_are_there():
    known = {file.name for file in names.python_files()}
    refuse([line for line in problems(names.FILE.findall, known.__contains__) if not line.startswith("tests/")])


def test_paths_that_code_builds_are_there():
    made = tuple(f"{ROOT}/{folder}" for folder in (".build", ".demo", ".venv"))
    missing = [(at, path) for at, path in built_paths() if not path.exists() and not str(path).startswith(made)]
    refuse([problem(at, path) for at, path in missing if str(path.relative_to(ROOT)) not in NOT_HERE])


def test_nothing_is_excused_that_nobody_names():
    named = {path for _, text in names.texts() for path in names.PATH.findall(text)}
    built = {str(path.relative_to(ROOT)) for _, path in built_paths() if path.is_relative_to(ROOT)}
    assert NOT_HERE - named - built == set()


def test_the_root_is_where_each_module_takes_it_to_be():
    wrong = []
    for file in names.python_files():
        known = {node.targets[0].id: node.value for node in ast.parse(file.read_text()).body if bound_to_a_name(node)}
        roots = {name: names.path_of(known.get(name), known | {"__file__": file}) for name in ("ROOT", "BUNDLE")}
        wrong += [f"{file.relative_to(ROOT)}: {name} is {path}" for name, path in roots.items() if path not in (None, ROOT)]
    refuse(wrong)


def bound_to_a_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)


def test_targets_of_make_are_there():
    known = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    refuse(problems(names.targets, known.__contains__))


def test_links_lead_to_files_and_headings():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    links = [
        (page, line, link) for page in pages for line, text in names.numbered(page.read_text()) for link in names.LINK.findall(text)
    ]
    refuse([problem(where(page, line), link) for page, line, link in links if not leads_somewhere(page, link)])


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return "://" in link or (target.exists() and (not anchor or anchor in names.anchors(target.read_text())))


def modules_of(tree: object, key: str = "") -> list[str]:
    """All names below the keys that hold modules."""
    if isinstance(tree, dict):
        return [name for key, part in tree.items() for name in modules_of(part, key)]
    if isinstance(tree, list):
        return [name for part in tree for name in modules_of(part, key)]
    return re.findall(r"[\w.]*\w", tree) if key in MODULE_KEYS else []


def test_modules_in_the_contracts_of_imports_are_there():
    modules = modules_of(PYPROJECT["tool"]["importlinter"])
    ours = [name for name in modules if name.split(".")[0] not in OTHERS]
    refuse([problem("pyproject.toml", name) for name in ours if not names.resolves(name)])
    assert {"release.targets", "contract"} <= set(modules)


def test_patterns_of_ruff_match_files():
    patterns = PYPROJECT["tool"]["ruff"]["lint"]["per-file-ignores"]
    globs = [re.sub(r"\*\*$", "**/*.py", part) for pattern in patterns for part in braces(pattern)]
    refuse([problem("pyproject.toml", part) for part in globs if not any(ROOT.glob(part))])


def braces(pattern: str) -> list[str]:
    opened = re.fullmatch(r"(.*)\{(.*)\}(.*)", pattern)
    return [f"{opened[1]}{part}{opened[3]}" for part in opened[2].split(",")] if opened else [pattern]


@pytest.mark.parametrize("file", ["plugins/retraining/freeze_run.py", "plugins/retraining/engines/artifact_staging.py"])
def test_what_the_hash_and_the_zip_are_made_of_is_there(file):
    packages = re.search(r"(?m)^PACKAGES = (\(.*\))$", (ROOT / file).read_text())
    refuse([problem(file, package) for package in ast.literal_eval(packages[1]) if not any((ROOT / package).rglob("*.py"))])


def paths_of(suite: str) -> list[str]:
    return [
        part
        for part in suites.command(suite, suites.Options(integration=False, coverage=False), Path("report.xml"))
        if part.startswith("tests/")
    ]


def test_suites_name_what_is_there():
    paths = [path for suite in suites.ENVIRONMENTS for path in paths_of(suite)]
    locks = [f"tests/locks/{package}.lock" for package in suites.ENVIRONMENTS.values()]
    refuse([problem("tests/suites.py", path) for path in [*paths, *locks] if not (ROOT / path).exists()])
    assert {suites.ALONE, *suites.MINUTES, *suites.AGAIN} <= set(suites.ENVIRONMENTS)


def test_each_test_file_belongs_to_one_suite():
    folders = [ROOT / path for suite in suites.ENVIRONMENTS if suite not in suites.AGAIN for path in paths_of(suite)]
    files = {file: sum(file.is_relative_to(folder) for folder in folders) for file in ROOT.glob("tests/**/test_*.py")}
    assert {str(file): count for file, count in files.items() if count != 1} == {}


@pytest.mark.parametrize(
    ("find", "text", "named"),
    [
        (names.COMMAND.findall, "by `python -m demo.gone --out X` or x -m release at", ["demo.gone", "release"]),
        (names.COMMAND.findall, '[python, "-m", "tests.gone", *more]; pytest -m integration', ["tests.gone"]),
        (names.dotted_names, "see contract.gone.Name, release.pub and the demo.", ["contract.gone.Name"]),
        (names.dotted_names, "from demo.run import gone, main as m", ["demo.run", "demo.run.gone", "demo.run.main"]),
        (names.PATH.findall, "`tests/gone/`, docs/a.md. app/serving/b.py ../docs/c.md", ["tests/gone/", "docs/a.md"]),
        (names.FILE.findall, "what gone.py left, not tests/run.py", ["gone.py"]),
        (names.targets, "`make gone`, run make lost first; make it anew", ["gone", "lost"]),
        (names.targets, "make setup gone-on   # each", ["setup", "gone-on"]),
        (names.LINK.findall, "[a](docs/a.md#b) and ![c](d.svg)", ["docs/a.md#b", "d.svg"]),
        (names.commands, 'run([x, "-m", f"demo.{y}"], ("-m", "release"))', [(1, "demo.*"), (1, "release")]),
        (
            lambda source: list(names.python_texts(source)),
            'a = f"b{c}"  # d\n"""e\nf"""',
            [(1, "b*"), (2, "e"), (3, "f"), (1, "d")],
        ),
        (lambda text: sorted(names.anchors(text)), "# A, and `b`\n## C-d", ["a-and-b", "c-d"]),
        (braces, "{demo,gone}/**", ["demo/**", "gone/**"]),
        (modules_of, {"x": {"layers": ["demo | gone", "a.b"]}, "y": ["c"]}, ["demo", "gone", "a.b"]),
        (names.expanded, "spark_jobs.jobs.*", ["spark_jobs.jobs.validate", "spark_jobs.jobs.train", "spark_jobs.jobs.compare"]),
        (names.expanded, "release.*", ["release.*"]),
    ],
)
def test_what_a_text_names(find, text, named):
    assert find(text) == named


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (names.runs, ["release", "release.routing.host", "tests.emr_stand_in"], ["contract", "demo.gone", "release.*"]),
        (
            names.resolves,
            ["release.routing.host", "contract.documents.ReplayResult", "images.rootfs"],
            ["release.gone", "contract.documents.Gone"],
        ),
        (
            names.resolves,
            ["serving.canary.0", "serving.replay.mask", "tests.spark_jobs"],
            ["serving.gone", "gone", "release.canary.0"],
        ),
        (names.exists, ["docs/", "tests/*/test_references.py", "demo/run.py"], ["docs/gone.md", "tests/*/gone.py"]),
    ],
)
def test_what_is_there(check, good, bad):
    assert [name for name in good + bad if check(name)] == good


def test_paths_are_followed_from_the_file_that_builds_them():
    source = 'HERE = Path(__file__).resolve().parent\nHERE.parent / "a" / "b.txt"\nPath(__file__).parents[1] / "c" / unknown'
    paths = [str(path) for _, path in names.built_paths(source, Path("/x/y/z.py"))]
    assert sorted(paths) == ["/x/a", "/x/a/b.txt", "/x/c"]
