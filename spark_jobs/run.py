"""Entry point of every Spark application: `run.py --store ROOT --job REQUEST CLAIM [--job REQUEST CLAIM …]`. Its import root (the
checkout, or the zip) is on PYTHONPATH.

Does the jobs one after the other in one Spark session. Each leaves `<job>-<key>.json` in the run's folder. The first that fails
leaves `<job>-<key>.error.json` and ends the application with exit code 1, or 3 if a retry cannot help.
"""

import sys

sys.path = [path for path in sys.path if not path.endswith("spark_jobs")]  # its `statistics` would hide Python's own

import argparse
import importlib
import logging
import os
import threading
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, NamedTuple

from contract.documents import Failure, JobRequest, JobStart, read, write
from contract.errors import PermanentError, RetrainingError
from contract.paths import StoreLayout
from contract.store.base import Store
from contract.store.factory import store_at
from spark_jobs.runtime.claims import claim_work, given_up, holder, left_by_another
from spark_jobs.runtime.lease import watch_lease
from spark_jobs.runtime.log_forwarding import LogForwarder
from spark_jobs.runtime.logs import start_logging

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_jobs.data.handover import Handover

log = logging.getLogger("spark_jobs.run")  # its name is __main__ where it is started
FAILED, PERMANENT = 1, 3
STOP_WITHIN_S = 120


class ClaimedJob(NamedTuple):
    """`claim`: number of the claim to create before any work."""

    request: JobRequest
    claim: int


def main(arguments: list[str]) -> int:
    start_logging()
    watch_lease()
    options = parse(arguments)
    store = store_at(options.store)
    jobs = [ClaimedJob(read(store, path, JobRequest), int(claim)) for path, claim in options.job]
    reason = claim_or_reason_to_skip(jobs, store)
    if reason:
        log.info(f"{reason}; nothing to do")
        return 0
    return run([job.request for job in jobs], store)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py", description="Run the jobs of a model's retraining in one Spark application.")
    parser.add_argument("--store", required=True, help="root of the store")
    what = "a job's request, a path in the store, and the number of the claim to create before any work"
    parser.add_argument("--job", required=True, action="append", nargs=2, metavar=("REQUEST", "CLAIM"), help=what)
    return parser.parse_args(arguments)


def claim_or_reason_to_skip(jobs: Sequence[ClaimedJob], store: Store) -> str:
    """Why this application must do no work at all; empty where it holds the claims of all its jobs from now on."""
    for request, _ in jobs:
        if name := left_by_another(request, store):
            return f"{request.job}: {name} already exists"
    for request, claim in jobs:
        if other := claim_work(store, request.files, claim, holder()):
            return f"{request.job}: {other} has claimed this work"
    return ""


def run(requests: Sequence[JobRequest], store: Store) -> int:
    """The exit code. What earlier jobs have left stays when a later one fails."""
    application = SparkApplication(requests, store)
    try:
        for request in requests:
            if name := next(filter(None, (given_up(other, store) for other in requests)), ""):
                log.info(f"{request.job}: {name} exists: this application is not waited for any more")
                return 0
            with LogForwarder(store, request.files, sys.stdout):
                if code := application.do(request):
                    return code
    finally:
        application.stop()
    return 0


class SparkApplication:
    """Does jobs in one Spark session, which starts with the first of them."""

    def __init__(self, requests: Sequence[JobRequest], store: Store) -> None:
        self.store = store
        self._requests = requests
        self._session: SparkSession | None = None

    def do(self, request: JobRequest) -> int:
        """The job's exit code; 0 where its document is written."""
        write(self.store, request.files.beside("started"), JobStart(time=datetime.now(UTC)))
        try:
            self.work(request)
        except RetrainingError as error:
            return fail(request, self.store, error)
        except Exception as error:
            from spark_jobs.runtime.error_translation import explain  # imported late: Spark takes a while to import

            traceback.print_exc()
            return fail(request, self.store, explain(error))
        return 0

    def work(self, request: JobRequest) -> None:
        from spark_jobs.runtime.watchdog import Watchdog, limits_of

        spark = self.session
        watchdog = Watchdog(spark, limits_of(request), lambda: getattr(sys.stdout, "lines", 0), partial(fail, request, self.store))
        with watchdog:
            document = importlib.import_module(module_of(request)).run(spark, request, self.store, self.handover)
            log.info(f"{request.job}: wrote {write(self.store, request.files.document, document)}")

    @cached_property
    def handover(self) -> "Handover":
        from spark_jobs.data.handover import Handover
        from spark_jobs.runtime.shared_folder import SharedFolder

        folder = f"{self.store.root}/{StoreLayout.JOBS}/{self._requests[0].key}/pipelines"
        return Handover(len(self._requests), SharedFolder.of(self.session, folder))

    @property
    def session(self) -> "SparkSession":
        from spark_jobs.runtime.session import start_session

        if self._session is None:
            threading.Thread(target=self._import_jobs, daemon=True).start()  # takes as long as Spark's own start
            run = self._requests[0].run
            self._session = start_session(f"{run.model} {run.run_id}")
        return self._session

    def _import_jobs(self) -> None:
        for request in self._requests:
            importlib.import_module(module_of(request))

    def stop(self) -> None:
        """All is stored by now: a session that does not stop must not keep the cluster's memory."""
        if self._session is not None:
            timer = threading.Timer(STOP_WITHIN_S, os._exit, (0,))
            timer.daemon = True
            timer.start()
            try:
                self.handover.shared.remove()
            finally:
                self._session.stop()


def module_of(request: JobRequest) -> str:
    return f"spark_jobs.jobs.{request.job}"


def fail(request: JobRequest, store: Store, error: RetrainingError) -> int:
    """Logs before it writes: the store itself may be what fails."""
    log.info(f"{request.job} failed: {error}")
    write(store, request.files.beside("error"), Failure.of(request.job, error))
    return PERMANENT if isinstance(error, PermanentError) else FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
