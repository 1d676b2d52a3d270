"""Compares the challenger with each reference model on common holdout rows; `incomparable` says why there are no numbers."""

from datetime import datetime
from typing import Literal, NamedTuple

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from contract.comparison import ReferenceComparison
from spark_jobs.comparison.baseline import with_baseline
from spark_jobs.comparison.curves import curves_of
from spark_jobs.comparison.holdout import Scored
from spark_jobs.comparison.reference_models import Incomparable, check_comparable, seen_until, with_version
from spark_jobs.comparison.slices import slice_results
from spark_jobs.data.labels import Labels
from spark_jobs.runtime.error_translation import bad_data
from spark_jobs.statistics.block_statistics import flat, reduce_by_blocks
from spark_jobs.statistics.blocks import groupings_of
from spark_jobs.statistics.intervals import results_of
from spark_jobs.statistics.metrics import measures_of
from spark_jobs.tracking.model_versions import Version, VersionUnreadable


class ReferenceModel(NamedTuple):
    """What the challenger is compared with. `unseen_after`: only later rows count."""

    role: Literal["champion", "anchor", "baseline"]
    version: int | None = None
    unseen_after: datetime | None = None


def against_baseline(scored: Scored, train: DataFrame) -> ReferenceComparison:
    pairs = with_baseline(scored.rows, train, scored.run.spec, scored.facts.centre)
    return compare_pairs(scored, pairs, ReferenceModel("baseline"))


def against_version(
    scored: Scored, role: Literal["champion", "anchor"], number: int, reference: Version | VersionUnreadable
) -> ReferenceComparison:
    """What prevents a fair comparison is not raised but put into `incomparable`: a person may still decide."""
    try:
        if isinstance(reference, VersionUnreadable):
            raise reference
        check_comparable(scored.run.spec, reference, role)
        until = seen_until(scored.run.spec, reference, scored.run.as_of)
        pairs = with_version(scored, reference, role, until)
        return compare_pairs(scored, pairs, ReferenceModel(role, number, until), reference)
    except (Incomparable, VersionUnreadable) as reason:
        return _incomparable(role, number, str(reason))
    except (PySparkException, Py4JJavaError) as error:
        return _incomparable(role, number, f"the {role} cannot score these rows: {bad_data(error)}")


def _incomparable(role: Literal["champion", "anchor"], number: int, why: str) -> ReferenceComparison:
    return ReferenceComparison(reference=role, version=number, rows=0, incomparable=why)


def compare_pairs(scored: Scored, pairs: DataFrame, reference: ReferenceModel, *reference_versions: Version) -> ReferenceComparison:
    run = scored.run
    spec, groupings, classes = run.spec, list(groupings_of(run.spec, run.as_of)), classes_of(scored, *reference_versions)
    answers = flat(pairs, *groupings, *(spec.gate.slices.columns if spec.gate.slices else ())).persist()
    statistics = reduce_by_blocks(answers, groupings, measures_of(spec.gate.measured(spec.task), spec.task, spec.gate, classes))
    rows, metrics = int(next(iter(statistics.values())).rows.sum()), results_of(statistics, run)
    slices = slice_results(answers, groupings, run, classes)
    comparison = ReferenceComparison(
        reference=reference.role,
        version=reference.version,
        rows=rows,
        metrics=metrics,
        slices=slices,
        unseen_after=reference.unseen_after,
        curves=curves_of(answers, spec.task),
    )
    answers.unpersist()
    return comparison


def classes_of(scored: Scored, *reference_versions: Version) -> Labels | None:
    """Labels known to any of the models or present in the holdout, sorted; None unless the task has several classes."""
    if scored.run.spec.task != "multiclass":
        return None
    known = {str(label) for version in (scored.challenger, *reference_versions) for label in version.labels or ()}
    return sorted({*known, *scored.facts.labels})
