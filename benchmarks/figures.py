"""How figures are printed and stored: a median with its range, and one JSON file for each benchmark."""

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
    """By nearest rank; NaN without values."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else float("nan")


def keep(name: str, results: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"cores": os.cpu_count(), **results}, indent=1) + "\n")
