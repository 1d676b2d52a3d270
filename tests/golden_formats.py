"""Golden files of what is stored: `tests/formats/<kind>-<format>.json`, written once for each kind and format, never changed.

`written` is what a version of this project stored; `read` holds some fields of what it means today.
"""

import json
from pathlib import Path

from contract import documents
from contract.base_model import Versioned

FOLDER = Path(__file__).parent / "formats"


def golden_files(kinds: dict[str, type[Versioned]]) -> list[Path]:
    return [path for path in sorted(FOLDER.glob("*.json")) if kind_of(path) in kinds]


def kind_of(path: Path) -> str:
    return path.stem.rpartition("-")[0]


def read_golden(path: Path, kinds: dict[str, type[Versioned]]) -> tuple[dict, dict]:
    """The fields that the file names under `read`: as they are read today, and as they must be."""
    content = json.loads(path.read_text())
    value = documents.parse(kinds[kind_of(path)], json.dumps(content["written"])).model_dump(mode="json")
    return {name: value[name] for name in content["read"]}, content["read"]
