"""Each kind that is stored has a golden file of its current format."""

import ast
import re
from pathlib import Path

from tests.golden_formats import FOLDER

ROOT = Path(__file__).parents[2]
PARTS = ("contract", "images", "plugins", "release", "spark_jobs")
BASES = {"Draft", "BaseRequest", "_OfImage"}  # never stored themselves


def stored_kinds() -> dict[str, int]:
    """Class in snake case: its current format. A kind is a class whose base is Versioned or one of BASES."""
    kinds = {}
    for path in (path for part in PARTS for path in (ROOT / part).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and {ast.unparse(base) for base in node.bases} & {"Versioned", *BASES}:
                kinds[node.name] = current_format(node)
    return {snake_case(name): number for name, number in kinds.items() if name not in BASES}


def snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def current_format(node: ast.ClassDef) -> int:
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == "format" and statement.value:
            return ast.literal_eval(statement.value)
    return 1


def test_each_kind_has_a_golden_file_of_its_current_format() -> None:
    kinds = stored_kinds()

    assert len(kinds) > 15
    assert {f"{kind}-{number}" for kind, number in kinds.items()} <= {path.stem for path in FOLDER.glob("*.json")}
