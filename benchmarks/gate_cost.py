"""What comparing costs beyond scoring: ten million rows scored by two models, and again with all that the gate computes.

`python -m benchmarks.gate_cost [--rows 10000000]` in Spark's environment; minutes on two cores. Also the Python driver's peak
memory, which must not grow with rows, customers or values of a slice's column.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import GBTClassifier
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import DataFrame, SparkSession

from contract.comparison import ReferenceComparison
from contract.documents import RunDocument, Snapshot
from contract.spec import ModelSpec
from spark_jobs.comparison.comparisons import against_version
from spark_jobs.comparison.holdout import holdout_facts, score, scored_by
from spark_jobs.data.dataset import build_examples, split
from spark_jobs.tracking.model_versions import Version

AS_OF = datetime(2026, 2, 1, tzinfo=UTC)
DAYS = 30
FEATURES = [f"x{index}" for index in range(6)]
FOLDER = Path(__file__).resolve().parents[1] / ".build" / "gate-cost"
SPEC = {
    "name": "cost",
    "description": "what does it cost?",
    "owner": "ops",
    "sources": {"rows": {"format": "parquet", "path": "rows"}},
    "examples": {"id": "id", "time": "at", "label": "label", "numeric": FEATURES, "categorical": ["segment"]},
    "task": "binary",
    "split": {"holdout": f"{DAYS}d"},
    "algorithm": {"name": "gbt_classifier"},
}
GATES = {
    "usual gate (log loss by days, a guard on auc)": {"metric": "log_loss", "guards": [{"metric": "auc", "min": 0.5}]},
    "all at once (auc by days and customers, slices)": {
        **{"metric": "auc", "blocks": ["time", "customer"], "guards": [{"metric": "log_loss", "max": 1.0}]},
        "slices": {"columns": ["segment"], "margin": 0.01},
    },
}
CONF = "--driver-memory 8g --conf spark.sql.shuffle.partitions=8 pyspark-shell"
TREES = 40
PLATFORM = {"name": "local", "store": "s", "data": "d", "mlflow": "http://mlflow.example", "spark": {"python": "python"}}


def run_document(spec: ModelSpec) -> RunDocument:
    about = {"model": spec.name, "run_id": "1", "folder": "runs/cost/1", "clear_number": 0, "as_of": AS_OF, "backfill": False}
    about |= {"spec": spec, "spec_hash": "s", "sql": None, "suites": {}, "champion": None, "code_hash": "c"}
    platform = {**PLATFORM, "images": {"repository": "oci:i"}, "serving": {"python": "python"}}
    return RunDocument.model_validate({**about, "platform": platform})


def write_rows(spark: SparkSession, rows: int, customers: int, segments: int) -> Snapshot:
    numbers = [f"randn({index + 1}) AS {name}" for index, name in enumerate(FEATURES)]
    at = f"timestamp_seconds({int(AS_OF.timestamp())} - 1 - cast(rand(20) * {DAYS} * 86400 AS long)) AS at"
    names = [
        f"concat('c', cast(rand(21) * {customers} AS long)) AS customer",
        f"concat('s', cast(rand(22) * {segments} AS long)) AS segment",
    ]
    frame = spark.range(rows).selectExpr("cast(id AS string) AS id", at, *numbers, *names)
    frame = frame.selectExpr("*", "double(x0 + x1 * x2 + randn(30) > 0.5) AS label")
    frame.write.mode("overwrite").parquet(f"{FOLDER}/rows")
    return Snapshot(uri=str(FOLDER), fingerprint="f", rows={"rows": rows}, as_of=AS_OF)


def fitted(examples: DataFrame, trees: int, seed: int) -> PipelineModel:
    stages = [
        VectorAssembler(inputCols=FEATURES, outputCol="features", handleInvalid="keep"),
        GBTClassifier(labelCol="label", maxIter=trees, maxDepth=5, seed=seed),
    ]
    return Pipeline(stages=stages).fit(examples)


def version(pipeline: PipelineModel, spec: ModelSpec, number: int) -> Version:
    trained = datetime(2025, 12, 1, tzinfo=UTC)
    return Version(pipeline, spec, None, [0, 1], {}, trained, trained, Path("onnx"), f"run{number}")


def scoring_s(holdout: DataFrame, versions: list[Version]) -> float:
    """Both score every row; nothing is kept and nothing compared."""
    started = time.monotonic()
    for candidate in versions:
        scored = candidate.pipeline.transform(holdout).select("id", "label", "prediction", "probability")
        scored.write.format("noop").mode("overwrite").save()
    return time.monotonic() - started


def comparing_s(
    holdout: DataFrame, versions: list[Version], run: RunDocument, snapshot: Snapshot
) -> tuple[float, ReferenceComparison]:
    """As the compare job does, once both models are loaded."""
    started = time.monotonic()
    scored = scored_by(versions[0], score(holdout, versions[0]), holdout_facts(holdout, run.spec), run, snapshot)
    compared = against_version(scored, "champion", 1, versions[1])
    seconds = time.monotonic() - started
    holdout.sparkSession.catalog.clearCache()
    return seconds, compared


def measure(gate: str, rows: int, customers: int, segments: int, repeats: int) -> None:
    from spark_jobs.runtime.session import start_session

    os.environ["PYSPARK_SUBMIT_ARGS"] = CONF
    spark, spec = start_session("gate cost"), ModelSpec.model_validate({**SPEC, "gate": GATES[gate]})
    run, snapshot = run_document(spec), write_rows(spark, rows, customers, segments)
    examples = build_examples(spark, snapshot, spec, None)
    sample = examples.sample(min(1.0, 100_000 / rows), seed=1).persist()
    versions = [version(fitted(sample, TREES, number), spec, number) for number in (1, 2)]
    sample.unpersist()
    holdout = split(examples, spec, AS_OF).holdout
    scoring_s(holdout.limit(10_000), versions)  # warm-up
    ratios = []
    for _ in range(repeats):
        alone, (whole, compared) = scoring_s(holdout, versions), comparing_s(holdout, versions, run, snapshot)
        ratios.append(whole / alone)
        print(f"  scoring {alone:.0f} s, comparing {whole:.0f} s: {ratios[-1]:.2f} times", flush=True)
    interval = compared.metrics[0].improvement
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{gate}: {compared.rows:,} rows, {customers:,} customers, {segments:,} segments in {len(compared.slices)} slices: "
        f"{compared.incomparable or f'{interval.value:+.5f} ({interval.low:+.5f} to {interval.high:+.5f})'}; "
        f"the driver's Python took {peak_mb:.0f} MB at most; ratio {min(ratios):.2f} to {max(ratios):.2f}",
        flush=True,
    )
    spark.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    usual, everything = GATES
    for case in (
        (everything, arguments.rows // 10, 1_000, 10, 1),
        (everything, arguments.rows // 10, 500_000, 100_000, 1),
        (everything, arguments.rows, 500_000, 10, 1),
        (usual, arguments.rows, 500_000, 10, arguments.repeats),
    ):
        process = multiprocessing.get_context("spawn").Process(target=measure, args=case)
        process.start()
        process.join()
        shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    main()
