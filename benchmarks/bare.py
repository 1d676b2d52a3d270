"""The same Spark work without the bundle, as one PySpark script would do it: snapshot, examples, search, fit, score, save."""

import argparse
from datetime import datetime
from pathlib import Path

from contract.paths import JobFiles
from contract.spec import parse_spec
from contract.store.local import LocalStore
from spark_jobs.data.dataset import build_examples, split
from spark_jobs.data.labels import labels_of
from spark_jobs.data.snapshot import freeze
from spark_jobs.data.sources import read_sources
from spark_jobs.jobs.train import learn, score
from spark_jobs.runtime.logs import start_logging
from spark_jobs.runtime.session import start_session
from spark_jobs.runtime.stage_timer import StageTimer
from spark_jobs.statistics.point_metrics import scores
from spark_jobs.training.search_records import SearchStore

DRIVER_MATRIX = "64m"  # a platform's default


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("spec", "data", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--as-of", type=datetime.fromisoformat, required=True)
    arguments = parser.parse_args()
    spec = parse_spec(arguments.spec.read_text(), arguments.spec)
    sql = (arguments.spec.parent / spec.examples.sql).read_text() if spec.examples.sql else None
    start_logging()
    spark, clock = start_session("bare"), StageTimer("bare")
    frozen = freeze(
        spark,
        read_sources(spark, str(arguments.data), spec.sources, arguments.as_of),
        spec.sources,
        str(arguments.out),
        arguments.as_of,
    )
    clock.lap("snapshot", "written and read back")
    train, holdout = split(build_examples(spark, frozen.snapshot, spec, sql), spec, arguments.as_of)
    train = train.persist()
    labels = labels_of(train, spec)
    kept = SearchStore(LocalStore(str(arguments.out)), JobFiles("search", "train", "bare"))
    learned = learn(train, spec, labels, int(arguments.as_of.timestamp()), DRIVER_MATRIX, kept, clock)
    metrics = scores(score(holdout, spec, labels, learned.pipeline), spec, labels, [spec.gate.metric])
    learned.pipeline.write().overwrite().save(f"{arguments.out}/model")
    clock.lap("end", f"{metrics}")


if __name__ == "__main__":
    main()
