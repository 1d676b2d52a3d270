"""Compare: challenger and champion, or the trivial baseline, on the same holdout rows; and the proof that ONNX equals Spark."""

import tempfile
from pathlib import Path
from typing import NamedTuple

from pyspark.sql import DataFrame, SparkSession

from contract import documents
from contract.algorithms import METRICS
from contract.documents import Comparison, JobRequest, MetricResult, Parity, RunDocument, Snapshot, Training, ValidationReport
from contract.spec import ModelSpec
from contract.store import Store
from spark_jobs.answers import answer_of
from spark_jobs.baseline import baseline_answer
from spark_jobs.blocks import block_of
from spark_jobs.clock import Clock
from spark_jobs.comparison_log import log_comparison
from spark_jobs.examples import build_examples, split
from spark_jobs.export.parity import prove
from spark_jobs.golden import choose_golden_rows
from spark_jobs.holdout import Facts, look_at, score
from spark_jobs.metrics import reduce_by_block
from spark_jobs.opponents import Incomparable, check_comparable, with_champion
from spark_jobs.results import results_of
from spark_jobs.tracking import Version, connect, load_versions


class Outcome(NamedTuple):
    """Results on `rows` rows, or why there are none."""

    rows: int
    results: tuple[MetricResult, ...] = ()
    incomparable: str = ""


def run(spark: SparkSession, request: JobRequest, store: Store) -> Comparison:
    clock, frozen, spec = Clock("compare"), request.run, request.run.spec
    connect(frozen.platform.mlflow)
    snapshot = documents.read(store, request.inputs["validate"], ValidationReport).snapshot
    training = documents.read(store, request.inputs["train"], Training)
    with tempfile.TemporaryDirectory() as folder:
        versions = [training.version, *([frozen.champion.version] if frozen.champion else [])]
        challenger, *champion = load_versions(spark, spec.name, versions, Path(folder))
        train, holdout = split(build_examples(spark, snapshot, spec, challenger.sql), spec, frozen.as_of)
        scored = score(holdout, challenger)
        facts = look_at(scored, spec)
        clock.lap("score", f"version {training.version} scored {facts.rows:,} holdout rows")

        parity = prove(scored, spec, challenger.onnx)
        golden = choose_golden_rows(scored, spec, challenger.pipeline)
        clock.lap("parity", f"ONNX equals Spark on {parity.rows:,} rows; chose {len(golden.rows)} golden rows")

        block, answer = block_of(spec, frozen.as_of).alias("block"), answer_of(challenger, facts.centre).alias("challenger")
        ours = scored.select(spec.examples.id, spec.examples.label, block, answer)
        if frozen.champion:
            outcome = against_champion(ours, champion[0], frozen, snapshot, facts)
        else:
            outcome = measure(ours.withColumn("opponent", baseline_answer(train, spec, facts.centre)), spec)
        clock.lap("compare", outcome.incomparable or f"compared on {outcome.rows:,} rows")
    golden_path = documents.write(store, f"{frozen.folder}/golden-{request.key}.json", golden)
    comparison = comparison_of(frozen, outcome, parity, golden_path, round(sum(clock.seconds.values()), 3))
    log_comparison(training.mlflow_run, comparison)
    return comparison


def against_champion(ours: DataFrame, champion: Version, frozen: RunDocument, snapshot: Snapshot, facts: Facts) -> Outcome:
    """An honest comparison or none: what stands in its way is told to the person who may decide without it."""
    try:
        check_comparable(frozen.spec, champion, frozen.as_of)
        return measure(with_champion(ours, champion, snapshot, frozen.spec, facts.centre), frozen.spec)
    except Incomparable as obstacle:
        return Outcome(facts.rows, incomparable=str(obstacle))


def measure(pairs: DataFrame, spec: ModelSpec) -> Outcome:
    statistics = reduce_by_block(pairs, METRICS[spec.task])
    return Outcome(int(statistics.rows.sum()), results_of(statistics, spec))


def comparison_of(frozen: RunDocument, outcome: Outcome, parity: Parity, golden: str, seconds: float) -> Comparison:
    return Comparison(
        opponent="champion" if frozen.champion else "baseline",
        champion_version=frozen.champion.version if frozen.champion else None,
        holdout_rows=outcome.rows,
        metrics=outcome.results,
        incomparable=outcome.incomparable,
        parity=parity,
        golden=golden,
        seconds=seconds,
    )
