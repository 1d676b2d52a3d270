"""The application whose submission is measured: claims its work as a job does, starts Spark, sleeps, and leaves a document."""

import sys
import time

from contract.documents import JobRequest, Snapshot, ValidationReport, write
from contract.store.base import Store
from spark_jobs import run

SECONDS = 15


def work(request: JobRequest, store: Store) -> None:
    from spark_jobs.runtime.session import start_session

    spark = start_session("sleeper")  # YARN counts an application without one as failed
    time.sleep(SECONDS)
    snapshot = Snapshot(uri="none", fingerprint="none", rows={}, as_of=request.run.as_of)
    write(store, request.files.document, ValidationReport(snapshot=snapshot, checks=(), seconds=SECONDS))
    spark.stop()


if __name__ == "__main__":
    run.work = work
    sys.exit(run.main(sys.argv[1:]))
