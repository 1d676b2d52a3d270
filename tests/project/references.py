"""What the project's texts name: modules, files, make's targets; and whether it exists."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("benchmarks", "contract", "dags", "demo", "images", "plugins", "release", "serving", "spark_jobs", "tests")
FOLDERS = (*PACKAGES, "docs", "expectations", ".ci")
UNREAD = {".venv", ".git", ".demo", ".build", "adr"}  # decisions name what was there when they were made

PACKAGE = "|".join(PACKAGES)
RUN_AS_MODULE = re.compile(rf"-m ((?:{PACKAGE})(?:\.\w+)*)(?![\w/.]*/)")
FILE = re.compile(rf"(?<![\w/.<*-])((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*\.(?:py|md|ya?ml|json|sh|toml|txt|sql|html))\b")
DOTTED = re.compile(
    r"`((?:contract|demo|plugins|release|spark_jobs|tests)(?:\.\w+)+)(?:\(\))?`"
)  # images.… is also a platform's key
LINK = re.compile(r"\]\(([^)\s]+)\)")
MAKE = re.compile(r"`make ([a-z-]+)")
IMPORTED = re.compile(rf"from ((?:{PACKAGE})(?:\.\w+)*) import")


class Reference(NamedTuple):
    where: str  # file:line
    name: str


def texts(*suffixes: str) -> Iterator[Path]:
    """The project's files with such names, in order."""
    for top in sorted(path for path in ROOT.iterdir() if path.name not in UNREAD):
        inside = sorted(top.rglob("*")) if top.is_dir() else [top]
        yield from (path for path in inside if path.suffix in suffixes and not UNREAD & set(path.parts) and path.is_file())


def matches(pattern: re.Pattern[str], path: Path) -> Iterator[Reference]:
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        yield from (Reference(f"{path.relative_to(ROOT)}:{number}", match) for match in pattern.findall(line))


@cache
def strings(path: Path) -> tuple[Reference, ...]:
    """Texts in Python code, docstrings too. A list of words is one text, so that `"-m", "a.b"` reads as `-m a.b`."""
    return tuple(_strings(path))


def _strings(path: Path) -> Iterator[Reference]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield Reference(f"{path.relative_to(ROOT)}:{node.lineno}", node.value)
        elif isinstance(node, ast.List | ast.Tuple):
            words = [word.value for word in node.elts if isinstance(word, ast.Constant) and isinstance(word.value, str)]
            yield Reference(f"{path.relative_to(ROOT)}:{node.lineno}", " ".join(words))


def in_strings(pattern: re.Pattern[str], path: Path) -> Iterator[Reference]:
    for where, text in strings(path):
        yield from (Reference(where, match) for match in pattern.findall(text))


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or path.is_dir()


def can_be_run(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def is_symbol(name: str) -> bool:
    """`package.module`, `package.module.name` or `package.module.Class.attribute`; the module is parsed, not imported."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if is_module(".".join(parts[:length])):
            return not parts[length:] or parts[length] in names_in(".".join(parts[:length]))
    return False


def names_in(module: str) -> set[str]:
    """What a module defines or imports at its top."""
    path = ROOT / module.replace(".", "/")
    file = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
    if not file.is_file():
        return set()
    names = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.ImportFrom | ast.Import):
            names |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            names |= {alias.asname or alias.name for alias in getattr(node, "names", [])}
    return names


def anchors(page: Path) -> set[str]:
    """Of a Markdown page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-") for heading in headings}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
