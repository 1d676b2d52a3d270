"""validate: writes the snapshot of this run, checks it, and reports all failed checks at once."""

import logging
import time
from multiprocessing.pool import ThreadPool

from pyspark.sql import SparkSession

from contract.documents import DataCheck, JobRequest, RunDocument, Snapshot, ValidationReport, write
from contract.errors import BadData
from contract.paths import StoreLayout
from contract.store.base import Store
from spark_jobs.data.checks import EXAMPLES, Examined, check_examples, check_source, check_volumes, earlier_snapshots
from spark_jobs.data.expectations import check_suite
from spark_jobs.data.handover import Handover
from spark_jobs.data.snapshot import Frozen, freeze
from spark_jobs.data.sources import read_sources
from spark_jobs.runtime.error_translation import explain

log = logging.getLogger(__name__)


def run(spark: SparkSession, request: JobRequest, store: Store, handover: Handover | None = None) -> ValidationReport:
    started, run, handover = time.monotonic(), request.run, handover or Handover()
    sources = read_sources(spark, run.platform.data, run.spec.sources, run.as_of)
    uri = f"{store.root}/{StoreLayout.snapshot(run.model, request.key)}"
    frozen = freeze(spark, sources, run.spec.sources, uri, run.as_of, cached=run.suites)
    snapshot = frozen.snapshot
    with ThreadPool(1) as pool:  # at once: most of the time goes into planning, on one core
        of_sources = pool.apply_async(check_sources, (frozen, run))
        examined = check_snapshot_examples(spark, snapshot, run, handover)
        volumes = check_volumes(snapshot, earlier_snapshots(store, run.folder, run.as_of))
        checks = (*of_sources.get(), *volumes, *examined.checks)
    for frame in frozen.frames.values():
        frame.unpersist()
    seconds = time.monotonic() - started
    report = ValidationReport(snapshot=snapshot, checks=checks, unlabelled=examined.unlabelled, seconds=seconds)
    if any(not check.passed for check in checks):
        path = write(store, request.files.beside("report"), report)
        raise BadData(failure_sentence(report, path))
    log.info(f"validate: {len(checks)} checks passed")
    return report


def check_sources(frozen: Frozen, run: RunDocument) -> list[DataCheck]:
    """One suite after the other: Great Expectations keeps its state in the process."""
    checks = []
    for name, frame in frozen.frames.items():
        log.info(f"validate: checking {name}")
        checks += check_source(frozen.contents[name], name, run.spec.sources[name], run.as_of)
        if name in run.suites:
            checks += check_suite(frame, name, run.suites[name])
    return checks


def check_snapshot_examples(spark: SparkSession, snapshot: Snapshot, run: RunDocument, handover: Handover) -> Examined:
    """A dataset that cannot be built is one failed check, so that failed checks of the sources are reported as well."""
    log.info("validate: checking the examples")
    try:
        return check_examples(handover.rows(spark, snapshot, run.spec, run.sql), run.spec, run.as_of)
    except Exception as error:  # a query may fail on the data, such as a division by zero
        reason = explain(error)
        if not isinstance(reason, BadData):
            raise
        return Examined([DataCheck(source=EXAMPLES, name="can be made", passed=False, detail=str(reason))])


def failure_sentence(report: ValidationReport, path: str) -> str:
    failed = [check for check in report.checks if not check.passed]
    where = ", ".join(dict.fromkeys(check.source for check in failed))
    listed = "; ".join(f"{check.source}: {check.name} ({check.detail})" for check in failed)
    return (
        f"{len(failed)} of {len(report.checks)} checks failed on {where} for {report.snapshot.as_of:%Y-%m-%d}: {listed}. "
        f"Nothing was trained; fix the data or the spec, then clear this task. Full report: {path}"
    )
