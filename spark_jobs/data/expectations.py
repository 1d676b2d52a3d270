"""Great Expectations on a Spark data frame: one DataCheck per expectation of a suite."""

import os
from typing import Any

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when the package is imported

import great_expectations as gx
from great_expectations.core import ExpectationSuite
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from pyspark.sql import DataFrame

from contract.documents import DataCheck
from contract.errors import BadData

EXAMPLES = 3


def check_suite(frame: DataFrame, source: str, suite: dict[str, Any]) -> list[DataCheck]:
    """Pass or fail first, then counts and example values of what failed. `frame` is read more than once: pass it cached."""
    batch = _batch(frame, source)
    expectations = _expectations(source, suite)
    results = _validate(batch, expectations, "BOOLEAN_ONLY")
    if len(results) != len(expectations):
        raise BadData(f"suite of {source}: {len(expectations)} expectations gave {len(results)} results; is one listed twice?")
    failed = [result.expectation_config.to_domain_obj() for result in results if not result.success]
    passed = [result for result in results if result.success]
    shown = _validate(batch, failed, {"result_format": "BASIC", "partial_unexpected_count": EXAMPLES}) if failed else []
    return [
        *(DataCheck(source=source, name=_name(result), passed=True) for result in passed),
        *(DataCheck(source=source, name=_name(result), passed=False, detail=_detail(result)) for result in shown),
    ]


def _expectations(source: str, suite: dict[str, Any]) -> list[Any]:
    """Built one by one, because a suite silently drops an expectation of an unknown type. Raises BadData."""
    built = []
    for number, written in enumerate(suite.get("expectations", []), start=1):
        try:
            built.append(ExpectationConfiguration(**written).to_domain_obj())
        except Exception as error:  # pydantic's or GX's own: any of them means that this entry is invalid
            reason = " ".join(str(error).split())
            raise BadData(f"suite of {source}: expectation {number} is not valid: {reason}; fix it in expectations/") from error
    if not built:
        raise BadData(f"suite of {source}: no expectations in it; add some, or remove it from the spec")
    return built


def _batch(frame: DataFrame, source: str) -> Any:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_spark(source).add_dataframe_asset(source)
    return asset.add_batch_definition_whole_dataframe(source).get_batch({"dataframe": frame})


def _validate(batch: Any, expectations: list[Any], result_format: str | dict[str, Any]) -> list[Any]:
    suite = ExpectationSuite(name="suite", expectations=expectations)
    results: list[Any] = batch.validate(suite, result_format=result_format).results
    return results


def _name(result: Any) -> str:
    """Such as expect_column_values_to_not_be_null(carrier)."""
    config = result.expectation_config
    columns = config.kwargs.get("column") or config.kwargs.get("column_list") or config.kwargs.get("column_set") or ""
    return f"{config.type}({columns if isinstance(columns, str) else ', '.join(columns)})"


def _detail(result: Any) -> str:
    raised = _raised(result.exception_info)
    if raised:
        return raised
    observed = result.result
    if observed.get("unexpected_count"):
        bad = ", ".join(str(value) for value in observed.get("partial_unexpected_list", []) if value is not None)
        return f"{observed['unexpected_count']:,} of {observed['element_count']:,} rows" + (f", such as {bad}" if bad else "")
    return f"found {observed['observed_value']}" if "observed_value" in observed else "not met"


def _raised(info: dict[str, Any]) -> str:
    """Messages of exceptions that GX caught; `info` is one entry, or one per metric."""
    entries = [info] if "raised_exception" in info else list(info.values())
    return "; ".join(sorted({str(entry["exception_message"]) for entry in entries if entry["raised_exception"]}))
