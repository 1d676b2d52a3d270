"""Files logged to MLflow with a model: its inputs, the search's candidates, and diagnostic tables and plots."""

import json
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from contract.documents import Candidate, StoredSpec
from contract.spec import ModelSpec
from spark_jobs.tracking.diagnostics import Table
from spark_jobs.tracking.plots import draw


def write_inputs(folder: Path, spec: ModelSpec, sql: str | None) -> None:
    (folder / "spec.json").write_text(StoredSpec(spec=spec).model_dump_json(indent=1))
    features = {"numeric": spec.examples.numeric, "categorical": spec.examples.categorical}
    (folder / "features.json").write_text(json.dumps(features, indent=1))
    if sql is not None:
        (folder / "features.sql").write_text(sql)


def write_candidates(folder: Path, candidates: Sequence[Candidate], metric: str) -> None:
    """Candidates, best first; with walk-forward folds also each fold's score, the newest first; with halving the share of rows."""
    halved = any(candidate.share < 1 for candidate in candidates)
    rows = [
        {
            **candidate.params,
            metric: _finite(candidate.score),
            **_folds(candidate),
            **({"share": round(candidate.share, 4)} if halved else {}),
            "seconds": round(candidate.seconds, 3),
        }
        for candidate in candidates
    ]
    if rows:
        _write_table(folder / "candidates.json", rows)


def _folds(candidate: Candidate) -> dict[str, float | None]:
    return {f"fold {number}": _finite(score) for number, score in enumerate(candidate.spans, 1)} if len(candidate.spans) > 1 else {}


def _finite(score: float) -> float | None:
    """JSON has no infinity."""
    return score if isfinite(score) else None


def write_diagnostics(folder: Path, tables: dict[str, Table]) -> None:
    for name, table in tables.items():
        _write_table(folder / f"{name}.json", table)
        draw(name, table, folder / f"{name}.png")


def _write_table(path: Path, rows: Table) -> None:
    """In split orientation (columns, data), which MLflow's UI shows as a table."""
    columns = list(rows[0])
    path.write_text(json.dumps({"columns": columns, "data": [[row[name] for name in columns] for row in rows]}, indent=1))
