"""compare: the challenger against each reference model on the same holdout rows, and the proof that ONNX equals Spark."""

import logging
import tempfile
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Literal

from pyspark.sql import DataFrame, SparkSession

from contract import documents
from contract.comparison import Comparison, Parity, RecipeChange, ReferenceComparison
from contract.documents import GoldenRows, JobRequest, RunDocument, Snapshot, Training, ValidationReport
from contract.paths import JobFiles
from contract.spec import ModelSpec
from contract.store.base import Store
from spark_jobs.comparison.comparisons import against_baseline, against_version
from spark_jobs.comparison.golden_rows import choose_golden_rows
from spark_jobs.comparison.holdout import hash_sample, holdout_facts, score, scored_by
from spark_jobs.comparison.recipes import compare_recipes
from spark_jobs.data.dataset import build_examples, split
from spark_jobs.export.parity import prove
from spark_jobs.runtime.stage_timer import StageTimer
from spark_jobs.tracking.comparison_log import log_comparison
from spark_jobs.tracking.mlflow_runs import connect
from spark_jobs.tracking.model_versions import Version, VersionUnreadable, load_versions

log = logging.getLogger(__name__)
Role = Literal["champion", "anchor"]


def run(spark: SparkSession, request: JobRequest, store: Store) -> Comparison:
    clock, frozen, spec = StageTimer("compare"), request.run, request.run.spec
    connect(frozen.platform.mlflow)
    report = documents.read(store, request.inputs["validate"], ValidationReport)
    snapshot = report.snapshot
    training = documents.read(store, request.inputs["train"], Training)
    roles = reference_versions_of(frozen)
    with tempfile.TemporaryDirectory() as folder:
        challenger, *reference_versions = load_versions(spec.name, [training.version, *roles.values()], Path(folder))
        if isinstance(challenger, VersionUnreadable):
            raise challenger
        train, holdout = split(build_examples(spark, snapshot, spec, challenger.sql), spec, frozen.as_of)
        facts = holdout_facts(holdout, spec)
        clock.lap("holdout", f"{facts.rows:,} holdout rows")

        with ThreadPool(1) as pool:  # neither alone keeps all cores busy
            sample = hash_sample(holdout, spec.examples.id, facts.rows)
            proving = pool.apply_async(prove_and_choose, (sample, spec, challenger))
            scored = scored_by(challenger, score(holdout, challenger), facts, frozen, snapshot)
            measured = [
                against_version(scored, role, number, loaded)
                for (role, number), loaded in zip(roles.items(), reference_versions, strict=True)
            ]
            comparisons = require_labels(measured or [against_baseline(scored, train)], report, facts.rows, spec)
            parity, golden = proving.get()
        clock.lap("compare", "; ".join(map(comparison_sentence, comparisons)))
        recipe = recipe_of(frozen, snapshot, challenger, reference_versions)
        if recipe:
            clock.lap("recipe", f"compared with the champion's recipe, which differs in {' and '.join(recipe.changed)}")
        log.info(f"compare: ONNX equals Spark on {parity.rows:,} rows; chose {len(golden.rows)} golden rows")
    golden_path = documents.write(store, JobFiles(frozen.folder, "golden", request.key).document, golden)
    seconds = round(sum(clock.seconds.values()), 3)
    anchor = frozen.champion.anchor if frozen.champion else None
    comparison = Comparison(
        version=training.version,
        comparisons=comparisons,
        anchor=anchor,
        folds=training.folds,
        recipe=recipe,
        parity=parity,
        golden=golden_path,
        seconds=seconds,
    )
    log_comparison(training.mlflow_run, comparison)
    return comparison


def require_labels(
    comparisons: Sequence[ReferenceComparison], report: ValidationReport, rows: int, spec: ModelSpec
) -> tuple[ReferenceComparison, ...]:
    """Marks comparisons incomparable where more rows lack a label than max_unlabelled: late labels are not a random sample.

    Where only a part of the holdout is compared, all unlabelled rows are counted in it, as most of them are the newest.
    """
    missing = rows * report.unlabelled / (1 - report.unlabelled)
    return tuple(_require_labels(compared, missing, spec) for compared in comparisons)


def _require_labels(compared: ReferenceComparison, missing: float, spec: ModelSpec) -> ReferenceComparison:
    share = missing / (missing + compared.rows) if compared.rows else 0.0
    if compared.incomparable or share <= spec.split.max_unlabelled:
        return compared
    why = (
        f"{share:.1%} of the holdout's rows have no {spec.examples.label} yet and at most "
        f"{spec.split.max_unlabelled:.1%} may have none (raise split.label_delay, or split.max_unlabelled)"
    )
    return compared.model_copy(update={"incomparable": why})


def recipe_of(
    run: RunDocument, snapshot: Snapshot, challenger: Version, reference_versions: Sequence[Version | VersionUnreadable]
) -> RecipeChange | None:
    """The champion is the first reference version, where there is any."""
    champion = next(iter(reference_versions), None)
    if not isinstance(champion, Version):
        return None
    return compare_recipes(run, snapshot, challenger, champion)


def prove_and_choose(holdout: DataFrame, spec: ModelSpec, challenger: Version) -> tuple[Parity, GoldenRows]:
    answers = score(holdout, challenger).persist()
    return prove(answers, spec, challenger.onnx), choose_golden_rows(answers, spec, challenger.pipeline)


def reference_versions_of(run: RunDocument) -> dict[Role, int]:
    """Version by role. The anchor only for rule not_worse, where small losses could add up, and where it is not the champion."""
    if run.champion is None:
        return {}
    roles: dict[Role, int] = {"champion": run.champion.version}
    anchor = run.champion.anchor
    if run.spec.gate.rule == "not_worse" and anchor is not None and anchor != run.champion.version:
        roles["anchor"] = anchor
    return roles


def comparison_sentence(compared: ReferenceComparison) -> str:
    name = f"{compared.reference} version {compared.version}" if compared.version else compared.reference
    return f"{name}: {compared.incomparable or f'compared on {compared.rows:,} rows'}"
