"""Writes the JSON Schemas of the two files that people write into docs/, for editors: `python -m contract.schemas`."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from contract.base_model import Strict, format_duration
from contract.platform import Platform
from contract.spec import ModelSpec

DOCS = Path(__file__).resolve().parents[1] / "docs"
FILES: dict[str, type[Strict]] = {"spec.schema.json": ModelSpec, "platform.schema.json": Platform}


class _Durations(GenerateJsonSchema):
    """Defaults as people would write them: 60s, not PT1M."""

    def encode_default(self, dft: Any) -> Any:
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def schema_text(kind: type[Strict]) -> str:
    """Without `name`, which is the file's own and not to be written."""
    schema: dict[str, Any] = kind.model_json_schema(schema_generator=_Durations)
    del schema["properties"]["name"]
    schema["required"].remove("name")
    return json.dumps({"$schema": GenerateJsonSchema.schema_dialect, **schema}, indent=1, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> None:
    for name, kind in FILES.items():
        (folder / name).write_text(schema_text(kind))


if __name__ == "__main__":
    write_schemas(DOCS)
