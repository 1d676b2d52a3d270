"""Every format that Airflow's own stored records were ever written in is read."""

from pathlib import Path

import pytest

from contract.base_model import Versioned
from plugins.retraining.decision.evaluation_budget import Evaluation
from plugins.retraining.spark.job_runner import Ticket
from tests.golden_formats import golden_files, read_golden

KINDS: dict[str, type[Versioned]] = {"evaluation": Evaluation, "ticket": Ticket}


@pytest.mark.parametrize("path", golden_files(KINDS), ids=lambda path: path.stem)
def test_every_format_is_read(path: Path) -> None:
    read, expected = read_golden(path, KINDS)
    assert read == expected
