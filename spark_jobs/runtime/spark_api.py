"""What PySpark's own type hints leave open: the first row of a query that has one, and Java's side of the session."""

from typing import Any

from pyspark import SparkContext
from pyspark.sql import DataFrame, Row


def first_row(rows: DataFrame) -> Row:
    """Of a query that always gives a row, as an aggregate without groups does."""
    row = rows.first()
    if row is None:
        raise ValueError(f"a query gave no row of {', '.join(rows.columns)}")
    return row


def jvm() -> Any:
    """Spark's Java classes by their full names."""
    classes = SparkContext._jvm
    if classes is None:
        raise RuntimeError("no Spark session was started in this process")
    return classes
