"""In the place of spark_jobs/run.py on a real YARN: claims and tells as that does; its work is a mark, and what STAND_IN says."""

import os
import sys
import time

from contract.documents import JobRequest, Snapshot, ValidationReport, write
from contract.errors import BadData
from contract.store.base import Store
from spark_jobs import run
from spark_jobs.runtime.claims import holder

LONGEST_S = 180


def work(request: JobRequest, store: Store) -> None:
    store.create(f"worked/{request.key}/{holder()}", b"")
    print("validate: at work", flush=True)
    behaviour = os.environ.get("STAND_IN", "well")
    if behaviour == "waits":
        until = time.monotonic() + LONGEST_S
        while "go" not in store.names("signals") and time.monotonic() < until:
            time.sleep(0.5)
    if behaviour == "bad data":
        raise BadData("parcels: 3 of 5 rows have no weight")
    if behaviour == "eats memory":
        eaten = []
        while True:
            eaten.append(b"x" * 50_000_000)
            time.sleep(0.05)
    snapshot = Snapshot(uri="hdfs://any", fingerprint="f1", rows={"parcels": 5}, as_of=request.run.as_of)
    print("validate: done", flush=True)
    write(store, request.files.document, ValidationReport(snapshot=snapshot, checks=(), seconds=1))


if __name__ == "__main__":
    run.work = work
    sys.exit(run.main(sys.argv[1:]))
