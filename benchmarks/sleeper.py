"""The application whose submission is measured: claims its work as a job does, starts Spark, sleeps, and leaves a document."""

import sys
import time

from contract.documents import JobRequest, Snapshot, ValidationReport, write
from spark_jobs import run

SECONDS = 15


def work(application: run.SparkApplication, request: JobRequest) -> None:
    _ = application.session  # YARN counts an application without one as failed
    time.sleep(SECONDS)
    snapshot = Snapshot(uri="none", fingerprint="none", rows={}, as_of=request.run.as_of)
    write(application.store, request.files.document, ValidationReport(snapshot=snapshot, checks=(), seconds=SECONDS))


if __name__ == "__main__":
    run.SparkApplication.work = work
    sys.exit(run.main(sys.argv[1:]))
