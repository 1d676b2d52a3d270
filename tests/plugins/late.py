"""A run of the test model `late`, as its jobs get it, and Airflow's states of the tasks of its jobs."""

from datetime import UTC, datetime
from pathlib import Path

from contract.documents import JOBS, RunDocument
from contract.spark import Spark
from contract.store.base import Store
from plugins.retraining.catalog import load_model_and_platform

ALONE = dict.fromkeys(JOBS, "success")  # no later task waits for its job
WHOLE_RUN = dict.fromkeys(JOBS)  # no task has begun


def late_run(bundle: Path, store: Store, spark: Spark, run_id: str) -> RunDocument:
    model, platform = load_model_and_platform(bundle / "dags" / "models" / "late.yaml")
    return RunDocument(
        model="late",
        run_id=run_id,
        folder="runs/late/r",
        clear_number=0,
        as_of=datetime(2013, 6, 15, tzinfo=UTC),
        backfill=False,
        spec=model.spec,
        spec_hash="s",
        sql=model.sql,
        suites=model.suites,
        platform=platform.model_copy(update={"store": store.root, "spark": spark}),
        champion=None,
        code_hash="c",
    )
