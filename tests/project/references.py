"""Names of modules, files and commands in a text, and whether the repository has them. Nothing of it is imported."""

import ast
import itertools
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("benchmarks", "contract", "dags", "demo", "images", "plugins", "release", "serving", "spark_jobs", "tests")
FOLDERS = (*PACKAGES, "docs", "expectations")
PLAIN = (
    "Makefile",
    "pyproject.toml",
    ".ci/run",
    "README.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "*/Dockerfile",
    "*/*.sh",
    "dags/*/*.yaml",
)
ANY, BEGIN = "|".join(PACKAGES), r"(?<![\w./:@*\\-])"
FILES = r"(?!\S*\.(?:json|lock|pub|sock)\b)"  # of release.pub: no module
COMMAND = re.compile(rf"""(?<![\w-])-m["']?,? ["']?((?:{ANY})(?:\.[\w*]+)*)(?![\w/])""")
DOTTED = re.compile(rf"{BEGIN}((?:{ANY})(?=\.){FILES}(?:\.(?:\w+|\*(?!\*)))+)(?![\w/(])")
IMPORT = re.compile(rf"\bfrom ((?:{ANY})[\w.]*) import ([\w, ]+)")
PATH = re.compile(rf"{BEGIN}((?:{'|'.join(FOLDERS)})/[\w.*/-]*[\w*/])")
TARGET = re.compile(r"(?:`|\b(?:run|by|after):? |[:,] (?=make [a-z-]+(?:[,.;]|$)))make ([a-z-]+)")
TARGETS = re.compile(r"^make((?: [a-z-]+)+) +#")  # a line of a shell, with its comment
FILE = re.compile(r"(?<![\w./*-])(\w+\.py)\b")
LINK = re.compile(r"\]\(([^)\s]+)\)")


class Text(NamedTuple):
    where: str
    text: str


@cache
def texts() -> list[Text]:
    """All lines that may name something: of plain files and docs, and of literals and comments of Python."""
    plain = sorted(path for pattern in PLAIN for path in ROOT.glob(pattern))
    lines = [(path, line, _globbed(LINK.sub("]", text))) for path in plain for line, text in numbered(path.read_text())]
    lines += [(file, line, text) for file in python_files() for line, text in python_texts(file.read_text())]
    return [Text(where(path, line), text) for path, line, text in lines]


@cache
def python_files() -> list[Path]:
    """But for this folder, whose tables name what is not there."""
    return sorted(file for name in PACKAGES for file in (ROOT / name).rglob("*.py") if file.parent != Path(__file__).parent)


def python_texts(source: str) -> Iterator[tuple[int, str]]:
    tree = parsed(source)
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        text = None if id(node) in inside else rendered(node)
        for line, part in enumerate(text.splitlines() if text else ()):
            yield node.lineno + line, _globbed(part)
    for line, text in numbered(source):
        if comment := re.search(r"(?:^|\s)# (.*)", text):
            yield line, _globbed(comment[1])


@cache
def parsed(source: str) -> ast.Module:
    return ast.parse(source)


def rendered(node: ast.AST) -> str | None:
    """A literal's text, a star in the place of each value; None of anything else."""
    if isinstance(node, ast.JoinedStr):
        return "".join(rendered(part) or "*" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def commands(source: str) -> list[tuple[int, str]]:
    """What follows "-m" in lists, tuples and arguments."""
    names = []
    for node in ast.walk(parsed(source)):
        parts = node.elts if isinstance(node, ast.List | ast.Tuple) else node.args if isinstance(node, ast.Call) else []
        after = [(item.lineno, rendered(item)) for flag, item in itertools.pairwise(parts) if rendered(flag) == "-m"]
        names += [(line, name) for line, name in after if name and name.split(".")[0] in PACKAGES]
    return names


def dotted_names(text: str) -> list[str]:
    imported = [
        f"{module}.{name.split()[0]}" for module, names in IMPORT.findall(text) for name in names.split(",") if name.split()
    ]
    return DOTTED.findall(text) + imported


def expanded(name: str) -> list[str]:
    """The names that an f-string may stand for."""
    return [name.replace("*", value) for value in values().get(name, ("*",))]


@cache
def values() -> dict[str, list[str]]:
    jobs = re.search(r"JobName = Literal\[(.*?)\]", (ROOT / "contract/documents/run.py").read_text())
    scripts = re.findall(r'(?:in_spark\(|run_in\("\w+", )"(\w+)"', (ROOT / "benchmarks/__main__.py").read_text())
    return {"spark_jobs.jobs.*": re.findall(r"\w+", jobs[1]), "benchmarks.*": scripts}


def runs(name: str) -> bool:
    """As python -m does."""
    path = ROOT.joinpath(*name.split("."))
    return path.with_name(f"{path.name}.py").exists() or (path / "__main__.py").exists()


def resolves(name: str) -> bool:
    """A module, a folder of them, or a module and one of its own names; or a key of the files that people write."""
    *parents, last = parts = name.split(".")
    if is_module(parts) or (
        parts[0] in ("images", "serving") and all(key in keys() or key.isdigit() or key == "*" for key in parts[1:])
    ):
        return True
    while parents and not is_module(parents):
        *parents, last = parents
    return bool(parents) and last in defined(_file_of(parents))


def is_module(parts: list[str]) -> bool:
    return ROOT.joinpath(*parts).is_dir() or _file_of(parts).exists()


def _file_of(parts: list[str]) -> Path:
    path = ROOT.joinpath(*parts)
    return path / "__init__.py" if path.is_dir() else path.with_name(f"{path.name}.py")


@cache
def defined(file: Path) -> set[str]:
    """Names that a module has at its top."""
    body = ast.parse(file.read_text()).body if file.exists() else []
    names = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    names |= {alias.asname or alias.name for node in imports for alias in node.names}
    bound = (part for node in body if isinstance(node, ast.Assign | ast.AnnAssign) for part in ast.walk(node))
    return names | {part.id for part in bound if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}


@cache
def keys() -> set[str]:
    """Of specs and platforms: serving.home is no module."""
    schemas = [json.loads(file.read_text()) for file in (ROOT / "docs").glob("*.schema.json")]
    return {key for schema in schemas for part in (schema, *schema["$defs"].values()) for key in part.get("properties", ())}


def exists(path: str) -> bool:
    return any(ROOT.glob(path.rstrip("/"))) if "*" in path else (ROOT / path).exists()


def targets(text: str) -> list[str]:
    shell = TARGETS.match(text)
    return TARGET.findall(text) + (shell[1].split() if shell else [])


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    titles = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w -]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def built_paths(source: str, file: Path) -> Iterator[tuple[int, Path]]:
    """Paths in the repository that code puts together from where it lies itself."""
    tree = parsed(source)
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            known.setdefault(node.targets[0].id, node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and (path := path_of(node, {"ROOT": ROOT, **known, "__file__": file})):
            yield node.lineno, path


def path_of(node: ast.AST | Path | None, known: dict) -> Path | None:
    match node:
        case Path():
            return node
        case ast.Name(id=name):
            return path_of(known.get(name), {key: value for key, value in known.items() if key != name})
        case ast.Call(func=ast.Name(id="Path"), args=[inner]) | ast.Call(func=ast.Attribute(value=inner, attr="resolve")):
            return path_of(inner, known)
        case ast.Attribute(value=inner, attr="parent"):
            return (path := path_of(inner, known)) and path.parent
        case ast.Subscript(value=ast.Attribute(value=inner, attr="parents"), slice=ast.Constant(value=int(number))):
            return (path := path_of(inner, known)) and path.parents[number]
        case ast.BinOp(left=left, op=ast.Div(), right=ast.Constant(value=str(name))):
            return (path := path_of(left, known)) and path / name
    return None


def numbered(text: str) -> Iterator[tuple[int, str]]:
    return enumerate(text.splitlines(), 1)


def _globbed(text: str) -> str:
    return re.sub(r"<\w+>|…|\{\w*\}", "*", text.replace("\\.", "."))


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"
