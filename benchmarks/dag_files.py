"""DAG files that exist while a benchmark runs."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.timed_model import FOLDER, Grid, write_spec
from demo.airflow_api import Airflow
from demo.paths import MODEL, ROOT

BESIDE = ROOT / "dags" / "benchmark"  # specs that the bundle makes no DAG of


@contextmanager
def dag_file(airflow: Airflow, dag: str, text: str) -> Iterator[str]:
    """A DAG that Airflow knows inside the context; yields its id."""
    path = ROOT / "dags" / f"benchmark_{dag}.py"
    path.write_text(text)
    try:
        airflow.await_dag(dag)
        airflow.unpause(dag)
        yield dag
    finally:
        path.unlink()


@contextmanager
def model_in_dag_file(airflow: Airflow, kind: str, text: str, grid: Grid | None = None, **more: Any) -> Iterator[Path]:
    """The demo's model again, whose DAG is made by `text`, a template with a field for the path of its `spec`."""
    BESIDE.mkdir()
    try:
        shutil.copy(FOLDER / f"{MODEL}.sql", BESIDE)
        spec = write_spec(BESIDE, kind, grid, **more)
        with dag_file(airflow, spec.stem, text.format(spec=str(spec))):
            yield spec
    finally:
        shutil.rmtree(BESIDE)
