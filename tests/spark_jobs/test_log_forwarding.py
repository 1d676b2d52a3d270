"""A job's output is in the store in parts while it runs, and completely at its end."""

import io
import logging
import time

from contract.paths import JobFiles
from contract.store.local import LocalStore
from spark_jobs.runtime.log_forwarding import LogForwarder
from spark_jobs.runtime.logs import start_logging

FILES = JobFiles("runs/late/r", "train", "k1")


def test_lines_are_stored_while_the_job_works_and_at_its_end(tmp_path):
    store, stdout = LocalStore(str(tmp_path)), io.StringIO()

    with LogForwarder(store, FILES, stdout, every_s=0.1) as forwarder:
        print("train: 3 rows")
        time.sleep(1)
        first = store.read("runs/late/r/train-k1.progress-0001.txt")
        print("train: done")

    assert first == b"train: 3 rows\n"
    assert store.read("runs/late/r/train-k1.progress-0002.txt") == b"train: done\n"
    assert store.names("runs/late/r") == ["train-k1.progress-0001.txt", "train-k1.progress-0002.txt"]
    assert stdout.getvalue() == "train: 3 rows\ntrain: done\n"
    assert forwarder.lines == 2


def test_what_a_job_logs_is_stored_as_the_sentence_alone(tmp_path):
    store, stdout = LocalStore(str(tmp_path)), io.StringIO()
    start_logging()
    log = logging.getLogger("spark_jobs.jobs.compare")

    with LogForwarder(store, FILES, stdout):
        log.info("compare: 90 % of 3 rows")
        log.debug("compare: not for people")

    assert store.read(FILES.progress(1)) == b"compare: 90 % of 3 rows\n"
    assert stdout.getvalue() == "compare: 90 % of 3 rows\n"


def test_logging_started_twice_writes_a_line_once(capsys):
    start_logging()
    start_logging()

    logging.getLogger("spark_jobs.run").info("train: done")

    assert capsys.readouterr().out == "train: done\n"


def test_a_store_that_fails_does_not_stop_the_job(tmp_path):
    stdout = io.StringIO()

    class Full(LocalStore):
        def create(self, path: str, content: bytes) -> bool:
            raise OSError("full")

    with LogForwarder(Full(str(tmp_path)), FILES, stdout):
        print("train: 3 rows")

    assert stdout.getvalue() == "train: 3 rows\nprogress could not be stored: full\n"
