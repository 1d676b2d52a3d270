"""The whole job on a CSV source without time, and on data with several faults."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from contract.documents import JobRequest, RunDocument, ValidationReport, read
from contract.errors import BadData
from contract.platform import Images, Platform, ServingHost, Spark
from contract.spec import parse_spec
from contract.store.local import LocalStore
from spark_jobs.jobs import validate
from tests.spark_jobs.queries import queries_of

SPEC = Path(__file__).parent / "specs" / "aircraft_engine.yaml"
HEAD = "tailnum,year,manufacturer,engines,seats,engine"


def request_for(folder: Path, *, suites: dict | None = None) -> JobRequest:
    platform = Platform(
        name="here",
        store=str(folder / "store"),
        data=str(folder),
        mlflow="http://127.0.0.1:1",
        spark=Spark(python="python"),
        images=Images(repository="oci:images"),
        serving=ServingHost(python="python"),
    )
    run = RunDocument(
        model="aircraft_engine",
        run_id="manual",
        folder="runs/aircraft_engine/manual",
        clear_number=0,
        as_of=datetime(2026, 1, 10, tzinfo=UTC),
        backfill=False,
        spec=parse_spec(SPEC.read_text(), SPEC),
        spec_hash="any",
        sql=None,
        suites=suites or {},
        platform=platform,
        champion=None,
        code_hash="any",
    )
    return JobRequest(job="validate", key="k1", run=run)


def write_planes(folder: Path, *rows: str) -> LocalStore:
    (folder / "planes.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    return LocalStore(str(folder / "store"))


def plane(number: int, engine: str, manufacturer: str = "BOEING", seats: str = "150") -> str:
    return f"N{number},{1990 + number % 20},{manufacturer},2,{seats},{engine}"


def test_a_good_source_becomes_a_snapshot_and_a_report(spark: SparkSession, tmp_path: Path) -> None:
    store = write_planes(tmp_path, *(plane(number, "Turbo-jet" if number % 2 else "Turbo-fan") for number in range(40)))

    report = validate.run(spark, request_for(tmp_path), store)

    assert all(check.passed for check in report.checks)
    assert report.snapshot.rows == {"planes": 40}
    assert report.snapshot.uri == f"{store.root}/snapshots/aircraft_engine/k1"
    assert spark.read.parquet(f"{report.snapshot.uri}/planes").count() == 40


def with_features(request: JobRequest, count: int) -> JobRequest:
    names = [f"x{at}" for at in range(count)]
    spec = request.run.spec
    columns = {"tailnum": "string", "engine": "string", **dict.fromkeys(names, "double")}
    source = spec.sources["planes"].model_copy(update={"columns": columns})
    examples = spec.examples.model_copy(update={"numeric": tuple(names), "categorical": ()})
    spec = spec.model_copy(update={"sources": {"planes": source}, "examples": examples})
    return request.model_copy(update={"run": request.run.model_copy(update={"spec": spec})})


@pytest.mark.parametrize("features", [1, 60])
def test_a_wide_table_takes_as_many_queries_as_a_narrow_one(spark: SparkSession, tmp_path: Path, features: int) -> None:
    head = ",".join(["tailnum", "engine", *(f"x{at}" for at in range(features))])
    planes = [[f"N{row}", "jet" if row % 2 else "fan", *(str(row * at % 7) for at in range(features))] for row in range(40)]
    (tmp_path / "planes.csv").write_text("\n".join([head, *(",".join(plane) for plane in planes)]) + "\n")
    request, store = with_features(request_for(tmp_path), features), LocalStore(str(tmp_path / "store"))

    # At most 3 read the CSV file and cast its text; written, read back, a view for the SQL, facts, ids, rows for the leakage check.
    assert queries_of(spark, lambda: validate.run(spark, request, store)) <= 9


def test_all_that_is_wrong_is_one_sentence_and_a_report(spark: SparkSession, tmp_path: Path) -> None:
    store = write_planes(
        tmp_path, *(plane(number, "Turbo-jet", seats="NA") for number in range(20)), plane(3, "Turbo-jet", seats="NA")
    )
    suite = {"expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "seats"}}]}

    with pytest.raises(BadData) as raised:
        validate.run(spark, request_for(tmp_path, suites={"planes": suite}), store)

    path = "runs/aircraft_engine/manual/validate-k1.report.json"
    assert str(raised.value) == (
        "5 of 11 checks failed on planes, examples for 2026-01-10: "
        "planes: expect_column_values_to_not_be_null(seats) (21 of 21 rows); "
        "examples: every row has an id of its own and a time (1 rows repeat another's tailnum (does a join multiply rows?)); "
        "examples: training rows: label varies (15 rows, engine is Turbo-jet in all); "
        "examples: holdout: label varies (6 rows, engine is Turbo-jet in all); "
        "examples: features have values (seats is null in all rows). "
        f"Nothing was trained; fix the data or the spec, then clear this task. Full report: {path}"
    )
    assert sum(not check.passed for check in read(store, path, ValidationReport).checks) == 5


def test_examples_that_cannot_be_made_do_not_hide_what_else_is_wrong(spark: SparkSession, tmp_path: Path) -> None:
    store = write_planes(tmp_path, plane(1, "Turbo-jet", seats="NA"))
    request = request_for(
        tmp_path,
        suites={"planes": {"expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "seats"}}]}},
    )
    run = request.run.model_copy(update={"sql": "SELECT tailnum, year, engines, seats, manufacturer FROM planes"})

    with pytest.raises(BadData) as raised:
        validate.run(spark, request.model_copy(update={"run": run}), store)

    assert "planes: expect_column_values_to_not_be_null(seats) (1 of 1 rows)" in str(raised.value)
    assert "examples: can be made (the examples of aircraft_engine do not fit its spec: engine is missing" in str(raised.value)


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        (
            "SELECT *, make AS manufacturer FROM planes",
            r"the SQL does not fit the sources: \[UNRESOLVED_COLUMN.WITH_SUGGESTION\] A column.* name `make` cannot be resolved",
        ),
        ("SELECT * FORM planes", r"the SQL does not fit the sources: \[PARSE_SYNTAX_ERROR\] Syntax error at or near 'planes'"),
        (
            "SELECT tailnum, engine, year, engines, manufacturer, 1 / (engines - 2) AS seats FROM planes",
            r"data and query do not fit together: \[DIVIDE_BY_ZERO\] Division by zero",
        ),
    ],
)
def test_a_query_that_the_data_does_not_fit_is_one_failed_check(
    spark: SparkSession, tmp_path: Path, sql: str, sentence: str
) -> None:
    """Such as after a column was renamed; the failed checks of the sources are reported as well."""
    store = write_planes(tmp_path, *(plane(number, "Turbo-jet" if number % 2 else "Turbo-fan") for number in range(40)))
    request = request_for(tmp_path)
    run = request.run.model_copy(update={"sql": sql})

    with pytest.raises(BadData) as raised:
        validate.run(spark, request.model_copy(update={"run": run}), store)

    assert re.match(rf"1 of 4 checks failed on examples for 2026-01-10: examples: can be made \({sentence}", str(raised.value))
    assert "\n" not in str(raised.value)


def test_an_empty_window_is_named_with_its_days(spark: SparkSession, tmp_path: Path) -> None:
    store = write_planes(tmp_path)

    with pytest.raises(BadData, match=r"\d of \d+ checks failed on planes, examples .*: planes: window has rows \(0 rows in all\)"):
        validate.run(spark, request_for(tmp_path), store)
