"""Tables of a real PostgreSQL. Spark's JVM is in New York, so that a time compared in a wrong zone fails here."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyspark
import pytest
from pyspark.sql import DataFrame, SparkSession

from contract.errors import BadData, TransientError
from contract.source import Source
from spark_jobs.data.sources import read_source
from tests.spark_jobs.mlflow_server import free_port
from tests.spark_jobs.postgres import Postgres, started

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("jars", "orders", "secrets", "zone")]

OLD = pyspark.__version__.startswith("3.")
AS_OF = datetime(2026, 1, 10, 6, tzinfo=UTC)
HOURS = """
CREATE TABLE orders AS
SELECT i::bigint AS id, timestamptz '2026-01-01 00:00:00+00' + i * interval '1 hour' AS placed,
       timestamp '2026-01-01 00:00:00' + i * interval '1 hour' AS placed_utc, date '2026-01-01' + i / 24 AS day,
       (i * 0.5)::numeric(10, 2) AS amount
FROM generate_series(0, 479) AS i
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with started() as server:
        yield server


@pytest.fixture(scope="module")
def orders(postgres: Postgres) -> None:
    """One for each hour of twenty days."""
    for statement in ("CREATE USER retraining PASSWORD 'hunter2'", HOURS, "GRANT SELECT ON orders TO retraining"):
        postgres.sql(statement)


@pytest.fixture(scope="module")
def secrets(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Hadoop credential provider, made by the class that `hadoop credential create` runs."""
    conf = spark.sparkContext._jsc.hadoopConfiguration()
    provider = f"localjceks://file{tmp_path_factory.mktemp('secrets')}/secrets.jceks"
    for alias, secret in (("shop.password", "hunter2"), ("shop.wrong", "hunter3")):
        shell = spark._jvm.org.apache.hadoop.security.alias.CredentialShell()
        shell.setConf(conf)
        assert shell.run(strings(spark, "create", alias, "-value", secret, "-provider", provider)) == 0
    conf.set("hadoop.security.credential.provider.path", provider)
    yield
    conf.unset("hadoop.security.credential.provider.path")


@pytest.fixture
def zone(spark: SparkSession) -> Iterator[None]:
    """UTC on Spark 3.5, which asks for it."""
    zones = spark._jvm.java.util.TimeZone
    before = zones.getDefault()
    if OLD:
        zones.setDefault(zones.getTimeZone("UTC"))
    yield
    zones.setDefault(before)


def strings(spark: SparkSession, *texts: str) -> Any:
    """As Java's array."""
    array = spark.sparkContext._gateway.new_array(spark._jvm.java.lang.String, len(texts))
    for at, text in enumerate(texts):
        array[at] = text
    return array


def orders_of(postgres: Postgres, **keys: object) -> Source:
    given = {"options": {"url": postgres.url, "user": "retraining"}, "secrets": {"password": "shop.password"}}
    return Source.model_validate({"format": "jdbc", "table": "public.orders", **given, **keys})


def scan_of(rows: DataFrame, what: str) -> str:
    """Filters that the plan pushes down to the database; the plan's own text is truncated."""
    return rows._jdf.queryExecution().executedPlan().collectLeaves().head().metadata().apply(what)


def read(spark: SparkSession, source: Source) -> DataFrame:
    return read_source(spark, "/nowhere", source, AS_OF)


@pytest.mark.parametrize(
    ("time_column", "from_", "until"),
    [  # a database compares times with a zone in its session's: a day more at both ends, exactly in Spark
        ("placed", "GreaterThanOrEqual(placed,2026-01-07", "LessThan(placed,2026-01-11"),
        (
            "placed_utc",
            f"GreaterThanOrEqual(placed_utc,2026-01-0{7 if OLD else 8}",
            f"LessThan(placed_utc,2026-01-1{1 if OLD else 0}",
        ),
    ],
)
def test_the_window_is_cut_in_the_database(
    spark: SparkSession, postgres: Postgres, time_column: str, from_: str, until: str
) -> None:
    rows = read(spark, orders_of(postgres, time_column=time_column, window="2d"))

    assert from_ in scan_of(rows, "PushedFilters")
    assert until in scan_of(rows, "PushedFilters")
    assert [row[0] for row in rows.select("id").orderBy("id").collect()] == list(range(7 * 24 + 6, 9 * 24 + 6))
    assert rows.selectExpr(f"min({time_column})").first()[0] == datetime(2026, 1, 8, 6)
    assert dict(rows.dtypes) == {
        "id": "bigint",
        "placed": "timestamp",
        "placed_utc": "timestamp",
        "day": "date",
        "amount": "decimal(10,2)",
    }


def test_a_window_over_days_is_cut_in_the_database(spark: SparkSession, postgres: Postgres) -> None:
    rows = read(spark, orders_of(postgres, time_column="day", window="2d"))

    assert "LessThan(day,2026-01-11)" in scan_of(rows, "PushedFilters")
    assert "GreaterThanOrEqual(day,2026-01-09)" in scan_of(rows, "PushedFilters")
    assert {row.day for row in rows.collect()} == {date(2026, 1, 9), date(2026, 1, 10)}


@pytest.mark.parametrize(
    "parts",
    [
        {"partitionColumn": "placed", "numPartitions": 4},
        {"partitionColumn": "placed", "numPartitions": 4, "lowerBound": date(2026, 1, 8), "upperBound": date(2026, 1, 10)},
        {"partitionColumn": "id", "numPartitions": 4, "lowerBound": 170, "upperBound": 220, "fetchsize": 10},
    ],
)
def test_a_table_is_read_over_several_connections_and_no_row_is_left_out(
    spark: SparkSession, postgres: Postgres, parts: dict
) -> None:
    rows = read(spark, orders_of(postgres, time_column="placed", window="2d", jdbc=parts))

    sizes = [len(part) for part in rows.rdd.glom().collect()]
    assert len(sizes) == 4
    assert min(sizes) >= 2
    assert sum(sizes) == timedelta(days=2) / timedelta(hours=1)


def test_only_the_named_columns_are_asked_for(spark: SparkSession, postgres: Postgres) -> None:
    rows = read(spark, orders_of(postgres, select={"order_id": "id", "at": "placed"}, time_column="at", window="1d"))

    assert scan_of(rows, "ReadSchema") == "struct<id:bigint,placed:timestamp>"
    assert rows.columns == ["order_id", "at"]


def test_the_password_is_in_no_plan(spark: SparkSession, postgres: Postgres) -> None:
    rows = read(spark, orders_of(postgres))

    assert "hunter2" not in rows._jdf.queryExecution().toString()
    assert "hunter2" not in orders_of(postgres).model_dump_json()


def test_what_the_database_refuses_is_told(spark: SparkSession, postgres: Postgres) -> None:
    prefix = f"in jdbc:postgresql://127.0.0.1:{postgres.port}/postgres cannot be read: "
    refused = {
        f'public.orders {prefix}FATAL: password authentication failed for user "retraining"; '
        "check options.user, and the secret that the spec names": orders_of(postgres, secrets={"password": "shop.wrong"}),
        f'lake.nowhere {prefix}ERROR: relation "lake.nowhere" does not exist; check the source in the spec': orders_of(
            postgres, table="lake.nowhere"
        ),
    }
    for sentence, source in refused.items():
        with pytest.raises(BadData) as raised:
            read(spark, source)
        assert str(raised.value) == sentence


def test_a_database_that_is_down_may_be_up_at_the_next_try(spark: SparkSession, postgres: Postgres, tmp_path: Path) -> None:
    url = f"jdbc:postgresql://127.0.0.1:{free_port()}/postgres"

    with pytest.raises(TransientError) as raised:
        read(spark, orders_of(postgres, options={"url": url, "user": "retraining"}))

    assert type(raised.value) is TransientError
    assert str(raised.value).startswith(f"public.orders in {url} cannot be reached: Connection to 127.0.0.1:")


def test_a_driver_that_is_not_there_is_told(spark: SparkSession, postgres: Postgres) -> None:
    with pytest.raises(BadData, match="add its driver's package, made for Spark"):
        read(spark, orders_of(postgres, options={"url": "jdbc:nosuch://127.0.0.1/shop"}))


def test_times_without_a_zone_are_utc_wherever_spark_is_or_refused(spark: SparkSession, postgres: Postgres) -> None:
    zones = spark._jvm.java.util.TimeZone
    zones.setDefault(zones.getTimeZone("America/New_York"))

    if OLD:
        with pytest.raises(BadData, match=r"add -Duser.timezone=UTC to spark.driver.extraJavaOptions"):
            read(spark, orders_of(postgres))
    else:
        assert read(spark, orders_of(postgres)).selectExpr("min(placed_utc)").first()[0] == datetime(2026, 1, 1)
