"""A year of daily retrains of the flights under several gates: how often each promotes, and how often a promoted version was worse.

`python -m benchmarks.gate_year --data DATA` in Spark's environment, DATA being the demo's data folder; a quarter of an hour on two
cores. The challengers are logistic regressions on the same 46 days each; each gate has a champion of its own, judged on the 14 days
before `as_of` by the product's estimator, and then measured on the 7 days after it, which no model has seen.
"""

import argparse
import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pyspark.ml import Pipeline
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.feature import Imputer, OneHotEncoder, StandardScaler, StringIndexer, VectorAssembler
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.runtime.session import start_session
from spark_jobs.statistics.jackknife import Blocked, Grouping, improvement, interval, jackknife

ROOT = Path(__file__).resolve().parents[1]
OUT = Path(__file__).parent / "results" / "gate_year.json"
NUMERIC = ["dep_delay", "distance", "hour", "day_of_week", "wind_speed", "visib", "precip"]
CATEGORICAL = ["carrier", "origin", "dest"]
WINDOW, HOLDOUT, AFTER = 60, 14, 7
FIRST, LAST = date(2013, 3, 5), date(2013, 12, 24)
RESAMPLES, SEED = 2_000, 20131231


class Gate(NamedTuple):
    """Promotes where `lower(interval) > margin`."""

    name: str
    margin: float
    lower: Callable[[object], float | None]


GATES = (
    Gate(">=", 0.0, lambda estimate: estimate.value + 1e-300),
    *(Gate(f"better, margin {margin:g}", margin, lambda estimate: estimate.low) for margin in (0.0, 0.0005, 0.001, 0.002)),
    *(Gate(f"not_worse, margin {margin:g}", -margin, lambda estimate: estimate.low) for margin in (0.0005, 0.001, 0.002, 0.005)),
)


def prepared(spark: SparkSession, data: str) -> DataFrame:
    """Day of the year, label and features of every flight that left."""
    for name in ("flights", "weather"):
        spark.read.parquet(f"{data}/{name}").createOrReplaceTempView(name)
    rows = spark.sql((ROOT / "dags" / "models" / "flight_delay.sql").read_text()).where("late IS NOT NULL")
    rows = rows.withColumns({name: F.col(name).cast("double") for name in NUMERIC})
    indexed, hot = ([f"{name}_{kind}" for name in CATEGORICAL] for kind in ("index", "hot"))
    stages = [
        Imputer(strategy="median", inputCols=NUMERIC, outputCols=[f"{name}_filled" for name in NUMERIC]),
        StringIndexer(inputCols=CATEGORICAL, outputCols=indexed, handleInvalid="keep"),
        OneHotEncoder(inputCols=indexed, outputCols=hot),
        VectorAssembler(inputCols=[*(f"{name}_filled" for name in NUMERIC), *hot], outputCol="raw"),
        StandardScaler(inputCol="raw", outputCol="features"),
    ]
    fitted = Pipeline(stages=stages).fit(rows).transform(rows)
    day = F.dayofyear("time_hour").alias("day")
    return fitted.select(day, F.col("late").cast("double").alias("label"), "features").persist()


def weights_of(rows: DataFrame, days: list[int]) -> np.ndarray:
    """Days × (coefficients, intercept) of the challenger as of each day."""
    weights = []
    for day in days:
        window = rows.where((F.col("day") >= day - WINDOW) & (F.col("day") < day - HOLDOUT))
        model = LogisticRegression(labelCol="label", maxIter=30).fit(window)
        weights.append(np.append(model.coefficients.toArray(), model.intercept))
        print(f"  trained as of day {day}", end="\r", flush=True)
    return np.array(weights)


def losses_of(rows: DataFrame, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows by day, and the sum of each model's log loss by day: days × models."""
    collected = rows.select("day", "label", vector_to_array("features", "float32").alias("features")).toArrow()
    days, labels = collected["day"].to_numpy(), collected["label"].to_numpy()
    flat = collected["features"].combine_chunks().flatten().to_numpy()
    features = flat.reshape(len(days), -1)
    counts, sums = np.zeros(367), np.zeros((367, len(weights)))
    for day in np.unique(days):
        here = days == day
        margins = features[here] @ weights[:, :-1].T + weights[:, -1]
        signed = np.where(labels[here, None] == 1, margins, -margins)
        counts[day], sums[day] = here.sum(), np.logaddexp(0, -signed).sum(axis=0)
    return counts, sums


def played(gate: Gate, days: list[int], counts: np.ndarray, sums: np.ndarray) -> dict:
    """One year under one gate; the first challenger is its first champion."""
    champion, promotions, served, rows = 0, [], 0.0, 0.0
    for index, day in enumerate(days[1:], 1):
        blocks = slice(day - HOLDOUT, day)
        statistics = [np.column_stack([counts[blocks], sums[blocks, model]]) for model in (index, champion)]
        sides = [jackknife(matrix, lambda total: total[1] / total[0]) for matrix in statistics]
        result = interval([Blocked(improvement(*sides, lower_is_better=True), Grouping(counts[blocks], True))], 0.025)
        lower = gate.lower(result)
        if lower is not None and lower > gate.margin:
            after = slice(day, day + AFTER)
            gained = (sums[after, champion] - sums[after, index]).sum() / counts[after].sum()
            promotions.append((day, gained))
            champion = index
        served, rows = served + sums[day, champion], rows + counts[day]
    return {"gate": gate.name, "looks": len(days) - 1, "promotions": promotions, "served": served / rows}


def summary(result: dict) -> dict:
    """The share of promotions that were worse afterwards, with a 95 % interval from resampled months."""
    months = np.array([(date(2013, 1, 1) + timedelta(days=day - 1)).month for day, _ in result["promotions"]])
    worse = np.array([gained < 0 for _, gained in result["promotions"]])
    rng, present = np.random.default_rng(SEED), np.unique(months)
    shares = [
        np.concatenate([worse[months == month] for month in rng.choice(present, len(present))]).mean() for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(shares, [0.025, 0.975]) if len(worse) else (np.nan, np.nan)
    share = worse.mean() if len(worse) else np.nan
    print(
        f"{result['gate']:<24} {len(worse):>4} of {result['looks']} promoted; worse on the next {AFTER} days {100 * share:3.0f} % "
        f"({100 * low:.0f} to {100 * high:.0f}); served log loss {result['served']:.5f}"
    )
    return {**result, "promotions": len(worse), "worse": share, "worse_low": low, "worse_high": high}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    spark = start_session("a year of gates")
    rows = prepared(spark, parser.parse_args().data)
    days = [day.timetuple().tm_yday for day in (FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1))]
    counts, sums = losses_of(rows, weights_of(rows, days))
    results = [summary(played(gate, days, counts, sums)) for gate in GATES]
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
