"""Refuses names that say nothing, and one class name for two things: `python tests/lint/names.py` lists each with its line."""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("contract", "images", "plugins", "release", "serving", "spark_jobs", "demo", "dags")
PARTS = (*PRODUCT, "benchmarks", "tests")
BANNED = {"asked", "each", "found", "look", "looks", "place", "places", "told", "wanted"}  # name what the value is


def bindings(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that is assigned, looped over, defined or taken as a parameter, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.alias(asname=str(name)):
                yield name, node.lineno


def banned(sources: dict[str, str]) -> list[str]:
    return [
        f"{path}:{line}: {name} says nothing: name what it is (docs/glossary.md)"
        for path, source in sources.items()
        for name, line in bindings(ast.parse(source))
        if name.strip("_") in BANNED
    ]


def repeated_classes(sources: dict[str, str]) -> list[str]:
    """Classes of one name in two modules of the product."""
    modules = defaultdict(list)
    for path, source in sources.items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and path.startswith(PRODUCT):
                modules[node.name.strip("_")].append(f"{path}:{node.lineno}")
    return [f"{', '.join(paths)}: {name} names {len(paths)} classes" for name, paths in modules.items() if len(paths) > 1]


def sources() -> dict[str, str]:
    paths = sorted(path for part in PARTS for path in (ROOT / part).rglob("*.py"))
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


def main() -> int:
    files = sources()
    problems = [*banned(files), *repeated_classes(files)]
    print("\n".join(problems), end="\n" if problems else "", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
