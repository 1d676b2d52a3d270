"""Every format that a job's claim was ever written in is read."""

from pathlib import Path

import pytest

from contract.base_model import Versioned
from spark_jobs.runtime.claims import Claim
from tests.golden_formats import golden_files, read_golden

KINDS: dict[str, type[Versioned]] = {"claim": Claim}


@pytest.mark.parametrize("path", golden_files(KINDS), ids=lambda path: path.stem)
def test_every_format_is_read(path: Path) -> None:
    read, expected = read_golden(path, KINDS)
    assert read == expected
