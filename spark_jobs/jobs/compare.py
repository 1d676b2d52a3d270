"""Compare: the challenger against each opponent on the same holdout rows; and the proof that ONNX equals Spark."""

import tempfile
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from contract import documents
from contract.comparison import Comparison, Contest, Parity, RecipeChange
from contract.documents import GoldenRows, JobRequest, RunDocument, Snapshot, Training, ValidationReport
from contract.spec import ModelSpec
from contract.store.base import Store
from spark_jobs.comparison.comparisons import against_baseline, against_version
from spark_jobs.comparison.golden_rows import choose_golden_rows
from spark_jobs.comparison.holdout import few_of, look_at, score, scored_by
from spark_jobs.comparison.recipes import compare_recipes
from spark_jobs.data.dataset import build_examples, split
from spark_jobs.export.parity import prove
from spark_jobs.runtime.stage_timer import Clock
from spark_jobs.tracking.comparison_log import log_comparison
from spark_jobs.tracking.mlflow_runs import connect
from spark_jobs.tracking.model_versions import Version, VersionUnreadable, load_versions


def run(spark: SparkSession, request: JobRequest, store: Store) -> Comparison:
    clock, frozen, spec = Clock("compare"), request.run, request.run.spec
    connect(frozen.platform.mlflow)
    report = documents.read(store, request.inputs["validate"], ValidationReport)
    snapshot = report.snapshot
    training = documents.read(store, request.inputs["train"], Training)
    roles = opponents_of(frozen)
    with tempfile.TemporaryDirectory() as folder:
        challenger, *opponents = load_versions(spec.name, [training.version, *roles.values()], Path(folder))
        if isinstance(challenger, VersionUnreadable):
            raise challenger
        train, holdout = split(build_examples(spark, snapshot, spec, challenger.sql), spec, frozen.as_of)
        facts = look_at(holdout, spec)
        clock.lap("look", f"{facts.rows:,} holdout rows")

        with ThreadPool(1) as beside:  # either alone does not keep all cores busy
            few = few_of(holdout, spec.examples.id, facts.rows)
            proving = beside.apply_async(prove_and_choose, (few, spec, challenger))
            scored = scored_by(challenger, score(holdout, challenger), facts, frozen, snapshot)
            contests = [against_version(scored, *role, loaded) for role, loaded in zip(roles.items(), opponents, strict=True)]
            contests = allowed(contests or [against_baseline(scored, train)], report, facts.rows, spec)
            parity, golden = proving.get()
        clock.lap("compare", "; ".join(map(told, contests)))
        recipe = recipe_of(frozen, snapshot, challenger, opponents)
        if recipe:
            clock.lap("recipe", f"made in another way than the champion: other {' and '.join(recipe.changed)}")
        print(f"compare: ONNX equals Spark on {parity.rows:,} rows; chose {len(golden.rows)} golden rows", flush=True)
    golden_path = documents.write(store, f"{frozen.folder}/golden-{request.key}.json", golden)
    seconds = round(sum(clock.seconds.values()), 3)
    anchor = frozen.champion and frozen.champion.anchor
    comparison = Comparison(
        version=training.version,
        contests=contests,
        anchor=anchor,
        folds=training.folds,
        recipe=recipe,
        parity=parity,
        golden=golden_path,
        seconds=seconds,
    )
    log_comparison(training.mlflow_run, comparison)
    return comparison


def allowed(contests: Sequence[Contest], report: ValidationReport, rows: int, spec: ModelSpec) -> tuple[Contest, ...]:
    """Rows whose label comes late are often the odd ones: without them the numbers stand, and show nothing.

    Where only a part of the holdout is compared, all that lack a label are taken to lie in it: they are mostly the newest.
    """
    missing = rows * report.unlabelled / (1 - report.unlabelled)
    return tuple(_with_labels(contest, missing, spec) for contest in contests)


def _with_labels(contest: Contest, missing: float, spec: ModelSpec) -> Contest:
    share = missing / (missing + contest.rows) if contest.rows else 0.0
    if contest.incomparable or share <= spec.split.max_unlabelled:
        return contest
    why = (
        f"{share:.1%} of the holdout's rows have no {spec.examples.label} yet and at most "
        f"{spec.split.max_unlabelled:.1%} may have none (raise split.label_delay, or split.max_unlabelled)"
    )
    return contest.model_copy(update={"incomparable": why})


def recipe_of(
    run: RunDocument, snapshot: Snapshot, challenger: Version, opponents: Sequence[Version | VersionUnreadable]
) -> RecipeChange | None:
    """The champion is the first opponent, where there is any."""
    champion = next(iter(opponents), None)
    if not isinstance(champion, Version):
        return None
    return compare_recipes(run, snapshot, challenger, champion)


def prove_and_choose(holdout: DataFrame, spec: ModelSpec, challenger: Version) -> tuple[Parity, GoldenRows]:
    answers = score(holdout, challenger).persist()
    return prove(answers, spec, challenger.onnx), choose_golden_rows(answers, spec, challenger.pipeline)


def opponents_of(run: RunDocument) -> dict[str, int]:
    """Role: version. The anchor where small losses could add up, and it is not the champion itself."""
    if run.champion is None:
        return {}
    anchor = run.champion.anchor
    beside = run.spec.gate.rule == "not_worse" and anchor not in (None, run.champion.version)
    return {"champion": run.champion.version, **({"anchor": anchor} if beside else {})}


def told(contest: Contest) -> str:
    name = f"{contest.opponent} version {contest.version}" if contest.version else contest.opponent
    return f"{name}: {contest.incomparable or f'compared on {contest.rows:,} rows'}"
