"""A run document for any spec, as every job reads it."""

from datetime import UTC, datetime

from contract.documents import RunDocument
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
