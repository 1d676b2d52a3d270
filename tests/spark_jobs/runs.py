"""A run document for any spec, as every job reads it, and the snapshot of a run."""

from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import DataFrame

from contract.documents import RunDocument, Snapshot
from contract.spec import ModelSpec

AS_OF = datetime(2026, 2, 1, tzinfo=UTC)
PLATFORM = {
    "name": "local",
    "store": "/store",
    "data": "/data",
    "mlflow": "http://mlflow.example",
    "spark": {"python": "python"},
    "images": {"repository": "oci:/images"},
    "serving": {"python": "python"},
}


def run_of(spec: ModelSpec, **changes: object) -> RunDocument:
    """`store`, `data` and `mlflow` go into its platform; all other changes are the document's own."""
    platform = {**PLATFORM, **{name: changes.pop(name) for name in ("store", "data", "mlflow") if name in changes}}
    about = {"model": spec.name, "run_id": "1", "folder": f"runs/{spec.name}/1", "clear_number": 0, "as_of": AS_OF}
    about |= {"backfill": False, "spec": spec, "spec_hash": "s", "sql": None, "suites": {}, "champion": None, "code_hash": "c"}
    return RunDocument.model_validate({**about, "platform": platform, **changes})


def write_snapshot(folder: Path, **frames: DataFrame) -> Snapshot:
    """Of those sources."""
    for name, frame in frames.items():
        frame.write.mode("overwrite").parquet(f"{folder}/{name}")
    rows = {name: frame.count() for name, frame in frames.items()}
    return Snapshot(uri=str(folder), fingerprint="typed by hand", rows=rows, as_of=AS_OF)
