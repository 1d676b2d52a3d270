"""compare: the challenger against each reference model on the same holdout rows, and the proof that ONNX equals Spark."""

import logging
import tempfile
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Literal, NamedTuple

from pyspark.sql import DataFrame, SparkSession

from contract import documents
from contract.comparison import Comparison, Parity, RecipeChange, ReferenceComparison
from contract.documents import GoldenRows, JobRequest, RunDocument, Snapshot, Training, ValidationReport
from contract.paths import JobFiles
from contract.spec import ModelSpec
from contract.store.base import Store
from spark_jobs.comparison.comparisons import against_baseline, against_version
from spark_jobs.comparison.golden_rows import choose_golden_rows
from spark_jobs.comparison.holdout import HoldoutFacts, Scored, hash_sample, holdout_facts, sample_size, score, scored_by
from spark_jobs.comparison.recipes import compare_recipes
from spark_jobs.data.dataset import labelled, split
from spark_jobs.data.handover import Handover
from spark_jobs.export.parity import collect_answers, prove
from spark_jobs.runtime.stage_timer import StageTimer
from spark_jobs.tracking.comparison_log import log_comparison
from spark_jobs.tracking.mlflow_runs import connect
from spark_jobs.tracking.model_versions import Version, VersionUnreadable, load_versions

log = logging.getLogger(__name__)
Role = Literal["champion", "anchor"]


class Versions(NamedTuple):
    """The challenger, and the reference versions: their numbers by role, and in the same order what was loaded of each."""

    challenger: Version
    numbers: dict[Role, int]
    references: Sequence[Version | VersionUnreadable]


class SplitExamples(NamedTuple):
    train: DataFrame
    holdout: DataFrame
    facts: HoldoutFacts


class OnnxProof(NamedTuple):
    """That the challenger's ONNX model equals its Spark model; the golden rows show it again wherever it is served."""

    parity: Parity
    golden: GoldenRows


class Evidence(NamedTuple):
    comparisons: tuple[ReferenceComparison, ...]
    proof: OnnxProof
    recipe: RecipeChange | None


def run(spark: SparkSession, request: JobRequest, store: Store, handover: Handover | None = None) -> Comparison:
    clock, frozen = StageTimer("compare"), request.run
    connect(frozen.platform.mlflow)
    report = documents.read(store, request.inputs["validate"], ValidationReport)
    training = documents.read(store, request.inputs["train"], Training)
    evidence = evidence_on(spark, frozen, report, training.version, clock, handover or Handover())
    comparison = Comparison(
        version=training.version,
        comparisons=evidence.comparisons,
        anchor=frozen.champion.anchor if frozen.champion else None,
        folds=training.folds,
        recipe=evidence.recipe,
        parity=evidence.proof.parity,
        golden=documents.write(store, JobFiles(frozen.folder, "golden", request.key).document, evidence.proof.golden),
        seconds=round(sum(clock.seconds.values()), 3),
    )
    log_comparison(training.mlflow_run, comparison)
    return comparison


def evidence_on(
    spark: SparkSession, run: RunDocument, report: ValidationReport, version: int, clock: StageTimer, handover: Handover
) -> Evidence:
    """`version` is the challenger's. Each stage ends with a line in the log."""
    with tempfile.TemporaryDirectory() as folder, ThreadPool(1) as pool:
        loading = pool.apply_async(versions_of, (run, version, Path(folder), handover))
        examples = examples_of(spark, report.snapshot, run, handover)
        versions = loading.get()
        clock.lap("holdout", f"{examples.facts.rows:,} holdout rows")
        comparisons, proof = compare_and_prove(versions, examples, report, run)
        clock.lap("compare", "; ".join(map(comparison_sentence, comparisons)))
        recipe = recipe_of(run, report.snapshot, versions.challenger, versions.references)
        if recipe:
            clock.lap("recipe", f"compared with the champion's recipe, which differs in {' and '.join(recipe.changed)}")
        log.info(f"compare: ONNX equals Spark on {proof.parity.rows:,} rows; chose {len(proof.golden.rows)} golden rows")
    return Evidence(comparisons, proof, recipe)


def versions_of(run: RunDocument, version: int, folder: Path, handover: Handover) -> Versions:
    """`version` is the challenger's: raises VersionUnreadable for it. An unreadable reference version is returned as its error."""
    numbers = reference_versions_of(run)
    challenger, *references = load_versions(run.spec.name, [version, *numbers.values()], folder, handover)
    if isinstance(challenger, VersionUnreadable):
        raise challenger
    return Versions(challenger, numbers, references)


def examples_of(spark: SparkSession, snapshot: Snapshot, run: RunDocument, handover: Handover) -> SplitExamples:
    """The holdout is cached, as several queries read it: the first of them counts it."""
    train, holdout = split(labelled(handover.rows(spark, snapshot, run.spec, run.sql), run.spec), run.spec, run.as_of)
    holdout = handover.cached(holdout)
    return SplitExamples(train, holdout, holdout_facts(holdout, run.spec))


def compare_and_prove(
    versions: Versions, examples: SplitExamples, report: ValidationReport, run: RunDocument
) -> tuple[tuple[ReferenceComparison, ...], OnnxProof]:
    """Both at once, for neither alone keeps all cores busy."""
    challenger, facts = versions.challenger, examples.facts
    answers = score(examples.holdout, challenger)
    with ThreadPool(1) as pool:
        sample = hash_sample(answers, run.spec.examples.id, facts.rows, sample_size(challenger))
        proving = pool.apply_async(prove_and_choose, (sample, run.spec, challenger))
        scored = scored_by(challenger, answers, facts, run, report.snapshot)
        return comparisons_of(versions, scored, examples.train, report), proving.get()


def comparisons_of(
    versions: Versions, scored: Scored, train: DataFrame, report: ValidationReport
) -> tuple[ReferenceComparison, ...]:
    compared = [
        against_version(scored, role, number, loaded)
        for (role, number), loaded in zip(versions.numbers.items(), versions.references, strict=True)
    ]
    return require_labels(compared or [against_baseline(scored, train)], report, scored.facts.rows, scored.run.spec)


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


def prove_and_choose(sample: DataFrame, spec: ModelSpec, challenger: Version) -> OnnxProof:
    """From one query."""
    answers = collect_answers(sample, spec)
    return OnnxProof(prove(answers, spec, challenger.onnx), choose_golden_rows(answers, spec, challenger.pipeline))


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
