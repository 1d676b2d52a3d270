"""The log of a job: plain sentences on sys.stdout, which its task's log repeats line by line."""

import logging


class StdoutHandler(logging.Handler):
    """Writes to sys.stdout as it is at that moment, as LogForwarder replaces it. An error of it is raised, as print does."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), flush=True)


def start_logging() -> None:
    """Once per process. Only this package's loggers: other libraries' go to stderr as they configure them."""
    logger = logging.getLogger("spark_jobs")
    logger.handlers = [StdoutHandler()]
    logger.setLevel(logging.INFO)
    logger.propagate = False
