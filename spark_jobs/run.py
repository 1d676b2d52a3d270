"""Entry of every Spark job: `run.py JOB --request FILE`. Its import root (the checkout, or the zip) is on PYTHONPATH.

Leaves `<job>-<key>.json` in the run's folder and exits 0, or `<job>-<key>.error.json` and exits 1, or 3 where a retry cannot help.
"""

import argparse
import importlib
import sys
import threading
import traceback
from pathlib import Path

from contract.documents import Failure, JobRequest, write
from contract.errors import BadData, RetrainingError
from contract.store import Store, store_at
from spark_jobs.parents import watch_parents

FAILED, BAD_DATA = 1, 3


def main(arguments: list[str]) -> int:
    watch_parents()
    request = parse_request(arguments)
    store = store_at(request.run.platform.store)
    if document_name(request) in store.names(request.run.folder):
        print(f"{request.job}: {document_name(request)} is there already; nothing to do", flush=True)
        return 0
    return run(request, store)


def parse_request(arguments: list[str]) -> JobRequest:
    parser = argparse.ArgumentParser(prog="run.py", description="Run one job of the retraining of a model.")
    parser.add_argument("job", choices=("validate", "train", "compare"))
    parser.add_argument("--request", required=True, help="file with the job's request")
    given = parser.parse_args(arguments)
    request = JobRequest.model_validate_json(Path(given.request.removeprefix("file://")).read_bytes())
    if request.job != given.job:
        parser.error(f"{given.request} is a request for {request.job}, not for {given.job}")
    return request


def document_name(request: JobRequest) -> str:
    return f"{request.job}-{request.key}.json"


def run(request: JobRequest, store: Store) -> int:
    from spark_jobs.failures import explain  # after the watch of the parents: Spark takes a while to import

    try:
        work(request, store)
    except Exception as error:
        known = explain(error)
        if known is not error:
            traceback.print_exc()
        return fail(request, store, known)
    return 0


def work(request: JobRequest, store: Store) -> None:
    from spark_jobs.session import start_session

    module = f"spark_jobs.jobs.{request.job}"
    threading.Thread(target=importlib.import_module, args=(module,), daemon=True).start()  # takes as long as Spark's own start
    spark = start_session(f"{request.run.model} {request.job} {request.key[:8]}")
    try:
        job = importlib.import_module(module)
        document = job.run(spark, request, store)
        print(f"{request.job}: wrote {write(store, f'{request.run.folder}/{document_name(request)}', document)}", flush=True)
    finally:
        spark.stop()


def fail(request: JobRequest, store: Store, error: RetrainingError) -> int:
    """The sentence is printed first: the store itself may be what fails."""
    print(f"{request.job} failed: {error}", flush=True)
    bad_data = isinstance(error, BadData)
    failure = Failure(step=request.job, reason=str(error), data=bad_data)
    write(store, f"{request.run.folder}/{request.job}-{request.key}.error.json", failure)
    return BAD_DATA if bad_data else FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
