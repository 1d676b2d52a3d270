from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from contract.documents import DataCheck
from contract.errors import BadData
from spark_jobs.data.expectations import check_suite


@pytest.fixture
def flights(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame([("AA", 5.0), ("AA", -700.0), (None, 9.0)], "carrier string, delay double").cache()


def expect(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs}


def suite(*expectations: dict[str, Any]) -> dict[str, Any]:
    return {"name": "flights", "expectations": list(expectations)}


def test_what_failed_comes_with_its_count_and_examples(flights: DataFrame) -> None:
    checks = check_suite(
        flights,
        "flights",
        suite(
            expect("expect_column_values_to_be_between", column="delay", min_value=-60),
            expect("expect_column_values_to_not_be_null", column="carrier"),
            expect("expect_table_row_count_to_be_between", min_value=5),
            expect("expect_column_values_to_be_in_set", column="carrier", value_set=["AA"]),
        ),
    )

    assert checks == [
        DataCheck(source="flights", name="expect_column_values_to_be_in_set(carrier)", passed=True),
        DataCheck(
            source="flights", name="expect_column_values_to_be_between(delay)", passed=False, detail="1 of 3 rows, such as -700.0"
        ),
        DataCheck(source="flights", name="expect_column_values_to_not_be_null(carrier)", passed=False, detail="1 of 3 rows"),
        DataCheck(source="flights", name="expect_table_row_count_to_be_between()", passed=False, detail="found 3"),
    ]


def test_an_expectation_on_a_column_that_is_gone_fails_and_says_so(flights: DataFrame) -> None:
    checks = check_suite(flights, "flights", suite(expect("expect_column_values_to_not_be_null", column="tail")))

    assert [(check.passed, check.detail) for check in checks] == [(False, 'Error: The column "tail" in BatchData does not exist.')]


def test_mostly_lets_some_rows_pass(flights: DataFrame) -> None:
    checks = check_suite(flights, "flights", suite(expect("expect_column_values_to_not_be_null", column="carrier", mostly=0.6)))

    assert [check.passed for check in checks] == [True]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"type": "expect_column_values_to_be_nice", "kwargs": {}}, "expect_column_values_to_be_nice not found"),
        ({"type": "expect_column_values_to_not_be_null", "kwargs": {"colum": "carrier"}}, "colum extra fields not permitted"),
        ({"kind": "expect_column_values_to_not_be_null"}, "unexpected keyword argument 'kind'"),
    ],
)
def test_an_expectation_that_is_not_valid_is_never_left_out(flights: DataFrame, written: dict[str, Any], said: str) -> None:
    good = expect("expect_column_values_to_not_be_null", column="delay")

    with pytest.raises(BadData, match=f"suite of flights: expectation 2 is not valid: .*{said}"):
        check_suite(flights, "flights", suite(good, written))


def test_a_suite_without_expectations_is_refused(flights: DataFrame) -> None:
    with pytest.raises(BadData, match="suite of flights: no expectations in it"):
        check_suite(flights, "flights", suite())
