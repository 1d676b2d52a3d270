"""Every format that Airflow's own stored records were ever written in is read."""

from pathlib import Path

import pytest

from contract import documents
from contract.base_model import Versioned
from contract.errors import TooNew
from plugins.retraining.decision.evaluation_budget import Evaluation
from plugins.retraining.spark.job_runner import Ticket
from tests.golden_formats import golden_files, read_golden

KINDS: dict[str, type[Versioned]] = {"evaluation": Evaluation, "ticket": Ticket}


@pytest.mark.parametrize("path", golden_files(KINDS), ids=lambda path: path.stem)
def test_every_format_is_read(path: Path) -> None:
    read, expected = read_golden(path, KINDS)
    assert read == expected


def test_a_newer_format_is_refused_with_the_side_to_upgrade() -> None:
    with pytest.raises(TooNew, match="the bundle that Airflow runs reads up to format 1: upgrade the bundle that Airflow runs"):
        documents.parse(Ticket, '{"format": 2}')
