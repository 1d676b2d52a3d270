"""How figures are told and kept: a median with its spread, and one JSON file of each benchmark."""

import json
import math
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def spread(values: Sequence[float], digits: int = 2) -> str:
    low, high = min(values), max(values)
    return f"median {statistics.median(values):.{digits}f} (from {low:.{digits}f} to {high:.{digits}f})"


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest rank; no number without values."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else float("nan")


def keep(name: str, found: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"cores": os.cpu_count(), **found}, indent=1) + "\n")
