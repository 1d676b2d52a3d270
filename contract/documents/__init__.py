"""Documents that the steps write: small, frozen, written once.

Times are UTC; a path is relative to the store, a URI is what Spark opens.
"""

from contract.documents.failure import CAUSES, Cause, Failure
from contract.documents.images import ANCHOR, FORMAT, LABELS_FORMAT, RUN, Check, Image, Release, ReplayResult, StepReport
from contract.documents.jobs import (
    Candidate,
    DataCheck,
    FittedIn,
    GoldenRows,
    SearchRecord,
    Snapshot,
    Training,
    ValidationReport,
)
from contract.documents.run import JOBS, Champion, Claim, JobName, JobRequest, JobStart, RunDocument, StoredSpec
from contract.documents.storage import Document, find, parse, read, write

__all__ = [
    "ANCHOR",
    "CAUSES",
    "FORMAT",
    "JOBS",
    "LABELS_FORMAT",
    "RUN",
    "Candidate",
    "Cause",
    "Champion",
    "Check",
    "Claim",
    "DataCheck",
    "Document",
    "Failure",
    "FittedIn",
    "GoldenRows",
    "Image",
    "JobName",
    "JobRequest",
    "JobStart",
    "Release",
    "ReplayResult",
    "RunDocument",
    "SearchRecord",
    "Snapshot",
    "StepReport",
    "StoredSpec",
    "Training",
    "ValidationReport",
    "find",
    "parse",
    "read",
    "write",
]
