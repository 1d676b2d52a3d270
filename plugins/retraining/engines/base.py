"""Where Spark jobs run: one small interface, one module for each place."""

from logging import Logger
from typing import Protocol

from contract.documents import JobRequest


class Engine(Protocol):
    def run(self, request: JobRequest, path: str, log: Logger) -> int:
        """Runs `spark_jobs/run.py JOB --request path` to its end and returns its exit code; what counts are its documents.

        Raises EngineTrouble if the job could not be started or was lost.
        """

    def stop(self) -> None:
        """Ends the job that `run` waits for, with all of its processes; may be called from a signal handler, and without a job."""
