"""The demo's model under names of its own, so that its runs are timed and the demo's are left alone."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from demo.airflow_api import Airflow
from demo.paths import MODEL, ROOT

FOLDER = ROOT / "dags" / "models"
MARGIN = 0.05  # wide, so that every timed run is released; the gate's strictness is measured elsewhere

Grid = dict[str, list[float]]


@contextmanager
def timed_model(airflow: Airflow, kind: str, grid: Grid | None = None) -> Iterator[Path]:
    """The file of its spec, which Airflow knows inside the context; `grid`: of boosted trees of Spark, instead of its algorithm."""
    with timed_models(airflow, [kind], grid) as (path,):
        airflow.unpause(path.stem)
        yield path


@contextmanager
def timed_models(airflow: Airflow, kinds: Sequence[str], grid: Grid | None = None, **more: Any) -> Iterator[list[Path]]:
    """One model per kind, under new names each time, and paused; `more` are further keys of their specs."""
    paths = [write_spec(FOLDER, kind, grid, **more) for kind in kinds]
    try:
        for path in paths:
            airflow.await_dag(path.stem)
        yield paths
    finally:
        for path in paths:
            path.unlink()


def write_spec(folder: Path, kind: str, grid: Grid | None = None, **more: Any) -> Path:
    name = f"{MODEL}_{kind}_{int(time.time())}"
    spec = yaml.safe_load((FOLDER / f"{MODEL}.yaml").read_text()) | more
    spec["gate"]["margin"] = MARGIN
    spec["serving"]["max_hold"] = spec["serving"]["hold"]  # it gets no requests to wait for
    if grid:
        del spec["spark"]  # Spark's trees are fitted in the JVM, which the demo's model spares its optimizing compiler
        spec["algorithm"] = {"name": "gbt_classifier", "params": {"maxDepth": 5}, "search": {"grid": grid}}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path
