"""Time and winner of grid, random and halving search, beside Spark's TrainValidationSplit on the same candidates and rows.

`python -m benchmarks.search --data DATA` in Spark's environment; half an hour on two cores. DATA is the demo's data folder. Both
sides draw a fifth of the rows to validate, as TrainValidationSplit knows no time, and end with the fit of the winner to all rows.
Winners are compared by their log loss on the holdout.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pyspark.ml import Model
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.functions import vector_to_array
from pyspark.ml.tuning import TrainValidationSplit
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from xgboost.spark import SparkXGBClassifier

from benchmarks.figures import keep, spread
from contract.algorithms import is_xgboost, length_of
from contract.documents import FittedIn
from contract.paths import JobFiles
from contract.platform import load_platform
from contract.spec import ModelSpec, parse_spec
from contract.store.local import LocalStore
from spark_jobs.data.dataset import build_examples, split
from spark_jobs.data.labels import labels_of, with_label_index
from spark_jobs.data.snapshot import freeze
from spark_jobs.data.sources import read_sources
from spark_jobs.jobs.train import prepared
from spark_jobs.runtime.session import start_session
from spark_jobs.training.candidates import FitPlan, plans_of
from spark_jobs.training.estimators import describe, estimator, fit
from spark_jobs.training.features import FEATURES, fit_features
from spark_jobs.training.matrix import gathered
from spark_jobs.training.search import CandidateSearch
from spark_jobs.training.search_records import SearchStore

ROOT = Path(__file__).resolve().parents[1]
AS_OF, SEED, RUNS = datetime(2013, 5, 15, tzinfo=UTC), 1, 3
STEP = {"low": 0.03, "high": 0.3, "log": True}
GBT = {"stepSize": STEP, "maxDepth": {"low": 2, "high": 5}, "maxIter": [10, 20]}
XGBOOST = {"learning_rate": STEP, "max_depth": {"low": 2, "high": 8}, "n_estimators": [50, 100]}
DRAWS = 9
GRIDS: dict[str, dict[str, Any]] = {
    "gbt_classifier": {"stepSize": [0.05, 0.1, 0.2], "maxDepth": [3, 5], "maxIter": [10, 20]},
    "xgboost_classifier": {"learning_rate": [0.05, 0.1, 0.2], "max_depth": [3, 6], "n_estimators": [50, 100]},
}
SPACES: dict[str, dict[str, Any]] = {"gbt_classifier": GBT, "xgboost_classifier": XGBOOST}


class Data(NamedTuple):
    """`train` and `holdout` with features; `levels` of the widest categorical column."""

    spec: ModelSpec
    labels: Any
    levels: int
    train: DataFrame
    holdout: DataFrame


class Ended(NamedTuple):
    seconds: float
    winner: str
    losses: np.ndarray  # of the holdout's rows, in the order of their ids

    @property
    def loss(self) -> float:
        return float(self.losses.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=int, default=RUNS)
    arguments = parser.parse_args()
    os.environ["PYSPARK_PYTHON"] = sys.executable  # of the workers, which have XGBoost to score with
    with tempfile.TemporaryDirectory() as home:
        platform = load_platform(ROOT / "dags/platforms/local.yaml", Path(home))
        settings = {name: str(value).lower() for name, value in platform.spark.conf.items() if "Options" not in name}
        spark = start_session("search", {**settings, "spark.driver.memory": "4g", "spark.sql.warehouse.dir": f"{home}/warehouse"})
        results = {name: of_algorithm(spark, name, arguments.data, f"{home}/{name}", arguments.runs) for name in GRIDS}
        spark.stop()
    keep("search", {"runs": arguments.runs, **results})


def of_algorithm(spark: SparkSession, name: str, folder: str, home: str, runs: int) -> dict[str, Any]:
    drawn = {"max_candidates": DRAWS}
    searches = {"grid": GRIDS[name], "random": SPACES[name], "halving": SPACES[name]}
    specs = {method: spec_of(name, {method: space, **({} if method == "grid" else drawn)}) for method, space in searches.items()}
    data = prepare(spark, specs["grid"], folder, home)
    searched(data, specs["halving"])  # warms the JVM up
    print(f"{name}, {data.train.count():,} rows", flush=True)
    return {method: measure(data, spec, method, runs) for method, spec in specs.items()}


def spec_of(name: str, search: dict[str, Any]) -> ModelSpec:
    path = ROOT / "dags/models/flight_delay.yaml"
    written = parse_spec(path.read_text(), path).model_dump(mode="json")
    return ModelSpec.model_validate(written | {"algorithm": {"name": name, "search": search}})


def prepare(spark: SparkSession, spec: ModelSpec, folder: str, home: str) -> Data:
    sql = (ROOT / "dags/models/flight_delay.sql").read_text()
    frozen = freeze(spark, read_sources(spark, folder, spec.sources, AS_OF), spec.sources, f"{home}/snapshot", AS_OF)
    train, holdout = split(build_examples(spark, frozen.snapshot, spec, sql), spec, AS_OF)
    train = train.persist()
    labels, features = labels_of(train, spec), fit_features(train, spec)
    held_out = features.pipeline.transform(with_label_index(holdout, spec, labels)).persist()
    return Data(spec, labels, features.levels, prepared(train, spec, labels, features), held_out)


def at_random(spec: ModelSpec) -> ModelSpec:
    """Whose search validates on rows that are drawn."""
    return spec.model_copy(update={"examples": spec.examples.model_copy(update={"time": None})})


def measure(data: Data, spec: ModelSpec, method: str, runs: int) -> dict[str, Any]:
    """Each goes first in turn."""
    ways: dict[str, Callable[[], Ended]] = {"ours": lambda: searched(data, spec), "Spark's": lambda: by_spark(data, spec)}
    taken = [{way: ways[way]() for way in sorted(ways, reverse=number % 2 == 0)} for number in range(runs)]
    ratios = [one["Spark's"].seconds / one["ours"].seconds for one in taken]
    ours, sparks = taken[-1]["ours"], taken[-1]["Spark's"]
    difference = ours.losses - sparks.losses
    error = float(difference.std() / len(difference) ** 0.5)
    print(f"{method}: {spread(ratios)} times as fast as Spark's", flush=True)
    for way in ways:
        print(f"  {way}: {spread([one[way].seconds for one in taken], 1)} s, {taken[-1][way].winner}, {taken[-1][way].loss:.5f}")
    print(
        f"  log loss on the holdout, ours − Spark's: {difference.mean():+.5f} ± {2 * error:.5f} (two standard errors)", flush=True
    )
    seconds = {way: [one[way].seconds for one in taken] for way in ways}
    losses = {"ours": ours.loss, "Spark's": sparks.loss, "two standard errors": 2 * error}
    return {"ratios": ratios, "seconds": seconds, "log loss": losses, "winners": {"ours": ours.winner, "Spark's": sparks.winner}}


def searched(data: Data, spec: ModelSpec) -> Ended:
    label, started = spec.examples.label, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        kept = SearchStore(LocalStore(folder), JobFiles("runs/search/1", "train", "a"))
        where: FittedIn = "driver" if is_xgboost(spec.algorithm.name) else "executors"
        best = CandidateSearch(at_random(spec), data.labels, data.levels, SEED, where, kept).run(data.train)[0]
        model = fit(spec.algorithm.name, best.params, gathered(data.train, label, where), label, SEED)
    return ended(time.monotonic() - started, best.params, model, data)


def by_spark(data: Data, spec: ModelSpec) -> Ended:
    label, name, started = spec.examples.label, spec.algorithm.name, time.monotonic()
    candidates = [params for plan in plans_of(spec, data.levels, SEED) for params in each_length(plan, length_of(name))]
    cores = data.train.sparkSession.sparkContext.defaultParallelism
    base: Any = SparkXGBClassifier(num_workers=cores, **columns(label)) if is_xgboost(name) else estimator(name, {}, label, SEED)
    maps = [{base.getParam(param): value for param, value in params.items()} for params in candidates]
    judge = MulticlassClassificationEvaluator(labelCol=label, metricName="logLoss")
    at_once = 1 if is_xgboost(name) else cores  # a barrier job takes all of them
    tuned = TrainValidationSplit(
        estimator=base, estimatorParamMaps=maps, evaluator=judge, trainRatio=0.8, parallelism=at_once, seed=SEED
    ).fit(data.train)
    best = candidates[int(np.argmin(tuned.validationMetrics))]
    return ended(time.monotonic() - started, best, tuned.bestModel, data)


def columns(label: str) -> dict[str, Any]:
    return {"features_col": FEATURES, "label_col": label, "missing": nan, "random_state": SEED, "verbose": False}


def each_length(plan: FitPlan, length: str | None) -> list[dict[str, Any]]:
    return [{**plan.params, length: number} for number in plan.lengths] if length and plan.lengths else [plan.params]


def ended(seconds: float, params: dict[str, Any], model: Model, data: Data) -> Ended:
    answers = model.transform(data.holdout).orderBy(data.spec.examples.id)
    frame: Any = answers.select(data.spec.examples.label, vector_to_array(F.col("probability"))[1].alias("p")).toPandas()
    probability = np.clip(frame["p"].to_numpy(), 1e-15, 1 - 1e-15)
    late = frame[data.spec.examples.label].to_numpy() == 1
    return Ended(seconds, describe(params), -np.log(np.where(late, probability, 1 - probability)))


if __name__ == "__main__":
    main()
