"""A spec without a time column, split by a hash of its id, through all three jobs and a real MLflow."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from contract import documents
from contract.base_model import Versioned
from contract.comparison import Comparison
from contract.documents import Champion, GoldenRows, JobRequest, RunDocument, Training, ValidationReport
from contract.platform import Images, Platform, ServingHost
from contract.spark import Spark as SparkPlatform
from contract.spec import parse_spec
from contract.store.local import LocalStore
from spark_jobs.data.dataset import build_examples, split
from spark_jobs.data.handover import Handover
from spark_jobs.jobs import compare, train, validate

pytest_plugins = ["tests.spark_jobs.mlflow_server"]

SPEC = Path(__file__).parent / "specs" / "aircraft_engine.yaml"
ROWS = 400
ENGINES = ("Turbo-fan", "Turbo-jet", "Turbo-prop")


class Line:
    """One model's jobs, each reading the output of the one before it."""

    def __init__(self, spark: SparkSession, url: str, home: Path) -> None:
        self.spark = spark
        self.store = LocalStore(str(home / "store"))
        self.platform = Platform(
            name="here",
            store=self.store.root,
            data=str(home),
            mlflow=url,
            spark=SparkPlatform(python="python"),
            images=Images(repository="oci:images"),
            serving=ServingHost(python="python"),
        )
        (home / "planes.csv").write_text("tailnum,year,manufacturer,engines,seats,engine\n" + "".join(map(plane, range(ROWS))))

    def frozen(self, day: int, champion: Champion | None = None, run_id: str = "") -> RunDocument:
        return RunDocument(
            model="aircraft_engine",
            run_id=run_id or f"day {day}",
            folder=f"runs/aircraft_engine/{run_id or day}",
            clear_number=0,
            as_of=datetime(2026, 1, day, tzinfo=UTC),
            backfill=False,
            spec=parse_spec(SPEC.read_text(), SPEC),
            spec_hash="any",
            sql=None,
            suites={},
            platform=self.platform,
            champion=champion,
            code_hash="any",
        )

    def retrain(self, day: int, champion: Champion | None = None) -> tuple[ValidationReport, Training, Comparison]:
        """Each job as an application of its own."""
        return tuple(self.outputs(self.frozen(day, champion), lambda: None))

    def outputs(self, run: RunDocument, handover: Callable[[], Handover | None]) -> Iterator[Any]:
        inputs, key = {}, run.run_id.replace(" ", "")
        for job in (validate, train, compare):
            name = job.__name__.rpartition(".")[2]
            document = job.run(self.spark, JobRequest(job=name, key=key, run=run, inputs=inputs), self.store, handover())
            inputs = {**inputs, name: documents.write(self.store, f"{run.folder}/{name}-{key}.json", document)}
            yield document


def plane(number: int) -> str:
    """The engine follows from seats and year but for every eleventh; some years are missing."""
    engine = ENGINES[(number % 3 + (number % 11 == 0)) % 3]
    year = "NA" if number % 17 == 0 else 1970 + 10 * (number % 3) + number % 7
    return (
        f"N{number},{year},{('BOEING', 'AIRBUS')[number % 2]},{1 + number % 3},{20 + 100 * (number % 3) + number % 19},{engine}\n"
    )


@pytest.fixture(scope="module")
def line(spark: SparkSession, mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> Line:
    return Line(spark, mlflow_url, tmp_path_factory.mktemp("planes"))


@pytest.fixture(scope="module")
def first(line: Line) -> tuple[ValidationReport, Training, Comparison]:
    return line.retrain(10)


def test_rows_without_time_are_validated_trained_on_and_compared_and_again_against_the_champion(line: Line, first: tuple) -> None:
    report, training, comparison = first

    assert report.snapshot.rows == {"planes": ROWS}
    assert training.train_until is None
    assert training.train_rows + training.holdout_rows == ROWS
    assert 65 <= training.holdout_rows <= 135  # 25 % of 400 within four standard deviations
    first = comparison.comparisons[0]
    assert (first.reference, first.rows, first.incomparable) == ("baseline", training.holdout_rows, "")
    log_loss = first.metrics[0].improvement
    assert 0 < log_loss.low < log_loss.value
    assert comparison.parity.rows == training.holdout_rows
    assert comparison.parity.labels_differ == 0
    assert {len(row) for row in documents.read(line.store, comparison.golden, GoldenRows).expected} == {len(ENGINES)}

    champion = Champion(version=training.version, digest="sha256:1", as_of=datetime(2026, 1, 10, tzinfo=UTC))
    again, newer, second = line.retrain(20, champion)

    assert again.snapshot.fingerprint == report.snapshot.fingerprint
    assert (newer.version, newer.train_rows) == (training.version + 1, training.train_rows)
    beside = second.comparisons[0]
    assert (beside.reference, beside.version, beside.incomparable) == ("champion", training.version, "")
    assert beside.metrics[0].improvement.value == pytest.approx(0, abs=1e-9)  # the same rows, the same recipe
    holdouts = [
        {row.tailnum for row in split(build_examples(line.spark, taken, run.spec, None), run.spec, run.as_of).holdout.collect()}
        for taken, run in ((report.snapshot, line.frozen(10)), (again.snapshot, line.frozen(20)))
    ]
    assert holdouts[0] == holdouts[1]


def test_one_application_leaves_the_documents_of_three_and_only_its_dataset_in_memory(line: Line, first: tuple) -> None:
    in_memory, kept = [cached(line.spark)], Handover(jobs=3)

    one = []
    for document in line.outputs(line.frozen(10, run_id="one"), lambda: kept):
        one.append(document)
        in_memory.append(cached(line.spark))

    assert [content(document) for document in one] == [content(document) for document in first]
    before = in_memory[0]
    assert [count - before for count in in_memory] == [0, 1, 1, 1]


def cached(spark: SparkSession) -> int:
    """Data frames that are cached."""
    return spark.sparkContext._jsc.getPersistentRDDs().size()


def content(document: Versioned) -> Any:
    """Without what differs from run to run: seconds, paths, and what MLflow numbers."""
    varies = {"seconds", "uri", "mlflow_run", "mlflow_url", "version", "golden"}

    def same(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: same(inner) for name, inner in value.items() if name not in varies}
        return [same(inner) for inner in value] if isinstance(value, list) else value

    return same(document.model_dump(mode="json"))
