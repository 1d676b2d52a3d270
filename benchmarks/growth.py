"""The whole loop on YARN against the local engine, on the same data in the same store, as its rows grow.

`python -m benchmarks.growth` while the demo runs on YARN: about an hour. Both engines have one machine's cores and as much memory.
"""

import statistics
from datetime import timedelta

from benchmarks.dag_files import model_in_dag_file
from benchmarks.figures import keep, spread
from benchmarks.loop import FIRST, bundle_run, copies
from benchmarks.timed_model import timed_models
from demo.airflow_api import Airflow
from demo.live import Live
from demo.paths import PLATFORMS
from demo.platforms.cluster import HADOOP

ROWS_OF_ONE = 55_600  # flights of 60 days
SIZES = ((6, 2, 10), (36, 1, 10), (180, 1, 3))  # copies of each flight, pairs of runs, trees: fewer where all takes half an hour
ON_YARN = {"driver": {"memory": "1g"}, "executor": {"memory": "4g", "cores": 2, "instances": 1}}
ON_LOCAL = {"driver": {"memory": "4g"}}
LOCAL_DAG = f'''"""Written and removed by a benchmark: a model whose jobs run in the worker's own host, not on YARN."""

from pathlib import Path

from contract.platform import load_platform
from plugins.retraining.catalog import airflow_home, load_model_and_platform
from plugins.retraining.dag import build_dag
from plugins.retraining.engines import engine_for

model, platform = load_model_and_platform(Path({{spec!r}}))
spark = load_platform(Path({str(PLATFORMS / "local.yaml")!r}), airflow_home()).spark
dag = build_dag(model, platform.model_copy(update={{{{"spark": spark}}}}), engine_for)
'''


def compare(times: int, pairs: int, trees: int) -> dict:
    """Seconds of the whole loop without its holds, and of its steps, by engine."""
    airflow, live = Airflow(), Live()
    path = f"/flights-times-{times}-{pairs}"
    HADOOP.put(copies(times, pairs), path)
    grid = {"stepSize": [0.1], "maxIter": [trees]}
    runs: dict[str, list] = {"local": [], "yarn": []}
    with (
        model_in_dag_file(airflow, f"x{times}_local", LOCAL_DAG, grid, spark=ON_LOCAL) as local,
        timed_models(airflow, [f"x{times}_yarn"], grid, spark=ON_YARN) as (yarn,),
    ):
        airflow.unpause(yarn.stem)
        for number in range(pairs):
            for engine, spec in (("local", local), ("yarn", yarn)):
                as_of = FIRST + timedelta(days=number)
                whole, holds, ended = bundle_run(airflow, live, spec.stem, f"{HADOOP.fs}{path}", as_of)
                runs[engine].append({"loop": whole - holds, **ended.seconds})
                print(f"  {engine}: {whole - holds:.0f} s", flush=True)
    ratios = [yarn["loop"] / local["loop"] for local, yarn in zip(runs["local"], runs["yarn"], strict=True)]
    return {"rows": times * ROWS_OF_ONE, "trees": trees, **runs, "yarn / local": ratios}


def main() -> None:
    rows = []
    for times, pairs, trees in SIZES:
        rows.append(compare(times, pairs, trees))
        loops = {engine: statistics.median(run["loop"] for run in rows[-1][engine]) for engine in ("local", "yarn")}
        summary = f"local {loops['local']:.0f} s, yarn {loops['yarn']:.0f} s"
        print(f"{rows[-1]['rows']:>12,} rows: {summary}; yarn / local {spread(rows[-1]['yarn / local'])}", flush=True)
        keep("growth", {"sizes": rows})


if __name__ == "__main__":
    main()
