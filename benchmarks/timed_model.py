"""The demo's model under a name of its own, so that its runs are timed and the demo's are left alone."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from demo.airflow_api import Airflow
from demo.place import MODEL, ROOT

FOLDER = ROOT / "dags" / "models"
MARGIN = 0.05  # what is timed is a run that goes through; the gate's strictness is measured elsewhere


@contextmanager
def timed_model(airflow: Airflow, kind: str, grid: dict[str, list[float]] | None = None) -> Iterator[Path]:
    """Its spec's file, known to Airflow meanwhile, of a new name each time; `grid` replaces the demo's search."""
    name = f"{MODEL}_{kind}_{int(time.time())}"
    spec = yaml.safe_load((FOLDER / f"{MODEL}.yaml").read_text())
    spec["gate"]["margin"] = MARGIN
    spec["serving"]["max_hold"] = spec["serving"]["hold"]  # nobody sends it requests to wait for
    if grid:
        spec["algorithm"]["search"]["grid"] = grid
    path = FOLDER / f"{name}.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    try:
        airflow.await_dag(name)
        airflow.unpause(name)
        yield path
    finally:
        path.unlink()
