"""Sources: the tables that examples are made of, cut to the window of one run."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from contract.errors import BadData
from contract.spec import Source

TIMES = (T.TimestampType, T.DateType)
DAY = timedelta(days=1)
STRICT = {
    "csv": {"header": "true", "enforceSchema": "false", "mode": "FAILFAST"},  # else columns go by position, whatever their names
    "json": {"mode": "FAILFAST"},  # else a broken line is a row of nulls
    "parquet": {},  # merging the schemas of all files would open every one; one that differs fails when it is read
}
NO_EFFECT = ("dateFormat", "timestampFormat", "inferSchema")


def read_sources(spark: SparkSession, root: str, sources: Mapping[str, Source], as_of: datetime) -> dict[str, DataFrame]:
    """Raises one BadData with what is wrong in all of them."""
    frames, problems = {}, []
    for name, source in sources.items():
        try:
            frames[name] = read_source(spark, root, source, as_of)
        except BadData as error:
            problems.append(f"source {name}: {error}")
    if problems:
        raise BadData("; ".join(problems))
    return frames


def read_source(spark: SparkSession, root: str, source: Source, as_of: datetime) -> DataFrame:
    """Rows of [as_of − window, as_of) with the spec's columns and types; without a window all before `as_of`."""
    path = source.path if "://" in source.path else f"{root.rstrip('/')}/{source.path}"
    rows = _zoned(_opened(spark, path, source))
    _check_columns(rows, path, source)
    rows = in_folders(rows, source, as_of)
    if source.format != "parquet":
        rows = _typed(rows, path, source)
    return in_window(rows, source, as_of)


def in_window(rows: DataFrame, source: Source, as_of: datetime) -> DataFrame:
    if source.time_column is None:
        return rows
    time = F.col(source.time_column)
    rows = rows.where(time < F.lit(as_of))
    return rows if source.window is None else rows.where(time >= F.lit(as_of - source.window))


def in_folders(rows: DataFrame, source: Source, as_of: datetime) -> DataFrame:
    """A filter on the time alone opens every folder. A day more at both ends: folders may be local days."""
    if source.partition_column is None:
        return rows
    day = F.col(source.partition_column)
    rows = rows.where(day <= F.lit((as_of + DAY).date()))
    return rows if source.window is None else rows.where(day >= F.lit((as_of - source.window - DAY).date()))


def _opened(spark: SparkSession, path: str, source: Source) -> DataFrame:
    vain = sorted(set(source.options) & set(NO_EFFECT))
    if vain:
        raise BadData(f"options {', '.join(vain)} have no effect: declare the column as a string, and convert it in the SQL")
    reader = spark.read.options(**{**STRICT[source.format], **source.options})
    if source.format == "json":
        reader = reader.schema(T.StructType([T.StructField(name, T.StringType()) for name in source.columns]))
    try:
        return reader.format(source.format).load(path)
    except AnalysisException as error:
        reasons = {
            "PATH_NOT_FOUND": "is not there",
            "UNABLE_TO_INFER_SCHEMA": "holds no data files",
        }
        reason = reasons.get(error.getCondition() or "", f"cannot be read ({_first_line(error)})")
        raise BadData(f"{path} {reason}; check the source's path and its last delivery") from None


def _zoned(rows: DataFrame) -> DataFrame:
    """Times written without a zone are UTC."""
    names = [field.name for field in rows.schema if isinstance(field.dataType, T.TimestampNTZType)]
    return rows.withColumns({name: F.col(name).cast("timestamp") for name in names})


def _check_columns(rows: DataFrame, path: str, source: Source) -> None:
    types = {field.name: field.dataType for field in rows.schema}
    named = [*source.columns, source.time_column, source.partition_column]
    missing = sorted({name for name in named if name and name not in types})
    problems = [f"{', '.join(missing)} missing (there are: {', '.join(types)})"] if missing else []
    if source.format == "parquet":
        problems += [
            f"{name} is {types[name].simpleString()}, not {wanted.simpleString()}"
            for name, wanted in _declared(source).items()
            if name in types and types[name] != wanted
        ]
    day = types.get(source.partition_column or "")
    if day is not None and not isinstance(day, T.DateType):
        problems.append(f"{source.partition_column} is no folder of days, named {source.partition_column}=2026-01-31")
    time = _declared(source).get(source.time_column or "") or types.get(source.time_column or "")
    if time is not None and not isinstance(time, TIMES):
        problems.append(f"{source.time_column} is {time.simpleString()}, not a timestamp or date")
    if problems:
        raise BadData(f"{path}: columns {'; '.join(problems)}")


def _declared(source: Source) -> dict[str, T.DataType]:
    try:
        return {name: T.DataType.fromDDL(kind) for name, kind in source.columns.items()}
    except Exception as error:
        raise BadData(f"columns: {_first_line(error)}; use Spark SQL's types, such as double, bigint, string, timestamp") from error


def _typed(texts: DataFrame, path: str, source: Source) -> DataFrame:
    """Texts become the declared types; a text that does not fit is an error with its column and an example."""
    declared = {name: kind.simpleString() for name, kind in _declared(source).items()}
    fits = {name: F.expr(f"try_cast(`{name}` AS {kind})") for name, kind in declared.items()}
    misfits = {name: F.when(F.col(name).isNotNull() & value.isNull(), F.col(name)) for name, value in fits.items()}
    counts = [F.count(misfit).alias(f"{name}_count") for name, misfit in misfits.items()]
    samples = [F.min(misfit).alias(f"{name}_example") for name, misfit in misfits.items()]
    found = texts.agg(*counts, *samples).first()
    wrong = [
        f"{name} has {found[f'{name}_count']:,} values that are no {kind}, such as {found[f'{name}_example']!r}"
        for name, kind in declared.items()
        if found[f"{name}_count"]
    ]
    if wrong:
        raise BadData(f"{path}: {'; '.join(wrong)}")
    others = [name for name in texts.columns if name not in declared]
    return texts.select(*(value.alias(name) for name, value in fits.items()), *others)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
