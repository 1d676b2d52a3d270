"""Valid sources, and the messages where format and keys do not fit together."""

from datetime import UTC, datetime

import pytest

from contract.errors import InvalidFile
from contract.source import Source, path_parts
from contract.yaml_files import parse_yaml

URL = "options: {url: 'jdbc:postgresql://db.example.com/shop', user: retraining}"
GOOD = {
    "orc": "{format: orc, path: s3://lake/parcels}",
    "avro with a window": "{format: avro, path: parcels, time_column: sent, partition_column: day, window: 60d}",
    "delta, the newest": "{format: delta, path: parcels}",
    "delta by version": "{format: delta, path: parcels, version: 0}",
    "delta of a catalogue": "{format: delta, table: lake.parcels, timestamp: 2026-01-31T00:00:00Z}",
    "table": "{format: table, table: hive.lake.parcels}",
    "libsvm": "{format: libsvm, path: digits.txt, options: {numFeatures: '692'}}",
    "jdbc": f"{{format: jdbc, table: public.parcels, secrets: {{password: shop.password}}, {URL}}}",
    "jdbc in parts of a number": f"{{format: jdbc, table: parcels, {URL}, "
    "jdbc: {partitionColumn: id, lowerBound: 0, upperBound: 1000000, numPartitions: 8}}",
    "jdbc in parts of the window": f"{{format: jdbc, table: parcels, {URL}, "
    "time_column: sent, window: 60d, jdbc: {partitionColumn: sent, numPartitions: 8, fetchsize: 500}}",
    "a connector": "{format: bigquery, options: {table: lake.parcels}}",
    "a connector's class": "{format: com.example.Parcels, path: parcels, secrets: {apiKey: parcels}}",
    "nested": "{format: parquet, path: users, select: {city: user.address.city, at: event.at}, time_column: at}",
    "nested json": "{format: json, path: users, select: {city: user.`home.address`.city}, columns: {city: string}}",
}
SECRET = "which must not be in this file; write secrets: {OPTION: ALIAS}, see docs/sources.md"
BROKEN = {
    "{format: parqet, path: x}": ["format: parqet is unknown (did you mean 'parquet'?)"],
    "{format: CSV, path: x}": ["format: CSV is unknown (did you mean 'csv'?)"],
    "{format: parquet}": ["path: missing"],
    "{format: parquet, path: x, version: 0, table: a.b}": [
        "table: belongs to format delta, jdbc, table, not to parquet",
        "version: belongs to format delta, not to parquet",
    ],
    "{format: delta}": ["path: a Delta table needs either path or table"],
    "{format: delta, path: x, version: 1, timestamp: 2026-01-31}": ["timestamp: cannot be combined with version"],
    "{format: delta, path: x, timestamp: 12 o'clock}": [
        'timestamp: must be a time such as 2026-01-31T00:00:00Z (is "12 o\'clock")'
    ],
    "{format: delta, path: x, options: {versionAsOf: '12'}}": ["options.versionAsOf: must be set by the key version"],
    "{format: table, table: 'drop table x'}": ["table: must be a table's name such as shop.orders (is 'drop table x')"],
    "{format: libsvm, path: x}": ["options.numFeatures: missing; say how many features there are, such as '692'"],
    "{format: jdbc, path: x, partition_column: day, time_column: at}": [
        "path: belongs to format csv, json, parquet, orc, avro, delta, libsvm, connector, not to jdbc",
        "partition_column: belongs to format csv, json, parquet, orc, avro, delta, table, connector, not to jdbc",
        "table: missing",
        "options.url: missing, such as jdbc:postgresql://db.example.com/shop",
    ],
    f"{{format: jdbc, table: x, {URL}, jdbc: {{partitionColumn: id, lowerBound: 5}}}}": [
        "jdbc.partitionColumn: must be set together with numPartitions",
        "jdbc.lowerBound: must be set together with upperBound",
    ],
    f"{{format: jdbc, table: x, {URL}, jdbc: {{partitionColumn: id, numPartitions: 4, lowerBound: 5, upperBound: 5}}}}": [
        "jdbc.upperBound: must be more than lowerBound, and of the same type"
    ],
    f"{{format: jdbc, table: x, {URL}, jdbc: {{partitionColumn: id, numPartitions: 4, lowerBound: now, upperBound: 5}}}}": [
        "jdbc.lowerBound: must be a whole number, or a date such as 2026-01-31 (is 'now')"
    ],
    f"{{format: jdbc, table: x, {URL}, jdbc: {{partitionColumn: id, numPartitions: 4}}}}": [
        "jdbc.lowerBound: missing, with upperBound; only a window on the partitionColumn replaces them"
    ],
    "{format: jdbc, table: x, options: {url: 'jdbc:postgresql://db/shop', dbtable: x, FetchSize: '5'}}": [
        "options.dbtable: must be set by the key table",
        "options.FetchSize: must be set by the key jdbc.fetchsize",
    ],
    "{format: jdbc, table: x, options: {password: 12345, url: 'jdbc:oracle:thin:scott/tiger@//db/shop'}}": [
        f"options.password: is a secret, {SECRET}",
        f"options.url: holds a secret, {SECRET}",
    ],
    "{format: jdbc, table: x, options: {url: 'jdbc:postgresql://db/shop?user=me&password=hunter2'}}": [
        f"options.url: holds a secret, {SECRET}"
    ],
    "{format: mongodb, options: {connection.uri: 'mongodb://me:hunter2@db'}}": [
        f"options.connection.uri: holds a secret, {SECRET}"
    ],
    "{format: snowflake, options: {pem_private_key: MII}}": [f"options.pem_private_key: is a secret, {SECRET}"],
    "{format: parquet, path: 's3://KEY:hunter2@lake/x'}": ["path: holds a secret, which must not be in this file"],
    "{format: jdbc, table: x, secrets: {password: Shop Password}, " + URL + "}": [
        "secrets.password: must be an alias of small letters, digits, dots, _ and - (is 'Shop Password')"
    ],
    "{format: parquet, path: x, select: {city: user..city}}": [
        "select.city: must be a path of names such as user.address.city (is 'user..city')"
    ],
    "{format: parquet, path: x, select: {city: user.city}, time_column: at, columns: {zip: string}}": [
        "columns: zip is not in select",
        "time_column: at is not in select",
    ],
    "{format: csv, path: x, select: {city: user.city, zip: Zip}, columns: {zip: string}}": [
        "columns: missing for city; csv has no types of its own (write name: type, such as distance: double)",
        "select.city: csv has no nested columns",
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_source_of_each_format_survives_json(name):
    source = parse_yaml(Source, GOOD[name], "parcels.yaml")

    assert Source.model_validate_json(source.model_dump_json()) == source


@pytest.mark.parametrize("text", BROKEN)
def test_keys_that_do_not_go_together_are_told_at_once(text):
    with pytest.raises(InvalidFile) as caught:
        parse_yaml(Source, text, "parcels.yaml")

    assert caught.value.problems == BROKEN[text]
    assert not any(secret in str(caught.value) for secret in ("hunter2", "tiger", "12345", "MII"))


def test_a_path_is_taken_apart_at_its_dots():
    assert path_parts("user.`home.address`.city") == ["user", "home.address", "city"]


def test_a_time_without_a_zone_is_utc():
    assert Source(format="delta", path="x", timestamp="2026-01-31 06:00").timestamp == datetime(2026, 1, 31, 6, tzinfo=UTC)
