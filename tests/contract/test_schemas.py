"""The JSON Schemas in docs/ are those of the code."""

import json

import pytest

from contract.schemas import DOCS, FILES, write_schemas


@pytest.mark.parametrize("name", FILES)
def test_the_schema_in_docs_is_current(name, tmp_path):
    write_schemas(tmp_path)
    assert (DOCS / name).read_text() == (tmp_path / name).read_text(), "run: python -m contract.schemas"


def test_the_schema_asks_for_durations_with_units_and_refuses_unknown_keys():
    schema = json.loads((DOCS / "spec.schema.json").read_text())

    assert schema["additionalProperties"] is False
    assert "name" not in schema["properties"]
    assert schema["properties"]["deadline"]["pattern"] == r"^\d+(\.\d+)?(ms|s|m|h|d)$"
    assert schema["properties"]["deadline"]["default"] == "2h"
