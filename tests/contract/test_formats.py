"""Every format that a run's documents were ever written in is read."""

from pathlib import Path

import pytest

from contract.base_model import Versioned
from contract.comparison import Comparison, Verdict
from contract.documents import (
    Check,
    Claim,
    Failure,
    GoldenRows,
    Image,
    JobRequest,
    JobStart,
    Release,
    RunDocument,
    SearchRecord,
    StoredSpec,
    Training,
    ValidationReport,
)
from tests.golden_formats import golden_files, read_golden

KINDS: dict[str, type[Versioned]] = {
    "check": Check,
    "claim": Claim,
    "comparison": Comparison,
    "failure": Failure,
    "golden_rows": GoldenRows,
    "image": Image,
    "job_request": JobRequest,
    "job_start": JobStart,
    "release": Release,
    "run_document": RunDocument,
    "search_record": SearchRecord,
    "stored_spec": StoredSpec,
    "training": Training,
    "validation_report": ValidationReport,
    "verdict": Verdict,
}


@pytest.mark.parametrize("path", golden_files(KINDS), ids=lambda path: path.stem)
def test_every_format_is_read(path: Path) -> None:
    read, expected = read_golden(path, KINDS)
    assert read == expected
