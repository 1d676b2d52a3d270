"""Entry point of every Spark job: `run.py JOB --store ROOT --request PATH --claim NUMBER`. Its import root (the checkout, or the
zip) is on PYTHONPATH.

Writes `<job>-<key>.json` to the run's folder and exits 0, or `<job>-<key>.error.json` and exits 1, or 3 if a retry cannot help.
"""

import sys

sys.path = [path for path in sys.path if not path.endswith("spark_jobs")]  # its `statistics` would hide Python's own

import argparse
import importlib
import logging
import threading
import traceback
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

from contract.documents import Failure, JobRequest, read, write
from contract.errors import PermanentError, RetrainingError
from contract.spark import merged
from contract.store.base import Store
from contract.store.factory import store_at
from spark_jobs.runtime.claims import claim_work, holder
from spark_jobs.runtime.log_forwarding import LogForwarder
from spark_jobs.runtime.logs import start_logging
from spark_jobs.runtime.parent_watch import is_watched, watch_parents

log = logging.getLogger("spark_jobs.run")  # its name is __main__ where it is started
FAILED, PERMANENT = 1, 3
NO_PROGRESS = timedelta(minutes=30)


def main(arguments: list[str]) -> int:
    start_logging()
    watch_parents()
    options = parse(arguments)
    store = store_at(options.store)
    request = read(store, options.request, JobRequest)
    if request.job != options.job:
        sys.exit(f"{options.request} is a request for {request.job}, not for {options.job}")
    reason = claim_or_reason_to_skip(request, store, options.claim)
    if reason:
        log.info(f"{request.job}: {reason}; nothing to do")
        return 0
    with nullcontext() if is_watched() else LogForwarder(store, request.files, sys.stdout):
        return run(request, store)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py", description="Run one job of the retraining of a model.")
    parser.add_argument("job", choices=("validate", "train", "compare"))
    parser.add_argument("--store", required=True, help="root of the store")
    parser.add_argument("--request", required=True, help="the job's request, a path in the store")
    parser.add_argument("--claim", required=True, type=int, help="number of the claim to create before any work")
    return parser.parse_args(arguments)


def claim_or_reason_to_skip(request: JobRequest, store: Store, claim: int) -> str:
    """Why this application must not do the work; empty where it holds the claim from now on."""
    listed = set(store.names(request.run.folder))
    for name in map(request.files.name, ("", "error", "failed")):
        if name in listed:
            return f"{name} already exists"
    other = claim_work(store, request.files, claim, holder())
    return other and f"{other} has claimed this work"


def run(request: JobRequest, store: Store) -> int:
    from spark_jobs.runtime.error_translation import explain  # imported late: Spark takes a while to import

    try:
        work(request, store)
    except Exception as error:
        translated = explain(error)
        if translated is not error:
            traceback.print_exc()
        return fail(request, store, translated)
    return 0


def work(request: JobRequest, store: Store) -> None:
    from spark_jobs.runtime.session import start_session

    module = f"spark_jobs.jobs.{request.job}"
    threading.Thread(target=importlib.import_module, args=(module,), daemon=True).start()  # takes as long as Spark's own start
    spark = start_session(f"{request.run.model} {request.job} {request.key[:8]}")
    watch(spark, request, store)
    try:
        job = importlib.import_module(module)
        document = job.run(spark, request, store)
        log.info(f"{request.job}: wrote {write(store, request.files.document, document)}")
    finally:
        spark.stop()


def watch(spark: Any, request: JobRequest, store: Store) -> None:
    from spark_jobs.runtime import watchdog

    resources = merged(request.run.platform.spark, request.run.spec.spark)
    limits = (resources.time_limit or request.run.spec.deadline, resources.no_progress or NO_PROGRESS)
    watchdog.watch(spark, limits, lambda: getattr(sys.stdout, "lines", 0), lambda error: fail(request, store, error))


def fail(request: JobRequest, store: Store, error: RetrainingError) -> int:
    """Logs before it writes: the store itself may be what fails."""
    log.info(f"{request.job} failed: {error}")
    write(store, request.files.beside("error"), Failure.of(request.job, error))
    return PERMANENT if isinstance(error, PermanentError) else FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
