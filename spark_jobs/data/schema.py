"""The columns of a source: selected by path, checked against the spec, and cast where the format has no types."""

from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from contract.errors import BadData
from contract.source import UNTYPED, Source
from spark_jobs.runtime.error_translation import first_line
from spark_jobs.runtime.spark_api import first_row

TIMES = (T.TimestampType, T.TimestampNTZType, T.DateType)


def text_schema(paths: list[list[str]]) -> T.StructType:
    """Schema for reading JSON: the selected leaves, as strings."""
    inside: dict[str, list[list[str]]] = {}
    for first, *rest in paths:
        inside.setdefault(first, []).extend([rest] if rest else [])
    return T.StructType([T.StructField(name, text_schema(deeper) if deeper else T.StringType()) for name, deeper in inside.items()])


def selected(rows: DataFrame, source_path: str, source: Source) -> DataFrame:
    """Flat columns by their paths: Spark reads only these of Parquet, ORC, Delta and databases. Raises BadData."""
    if not source.select:
        return rows
    problems = [f"{name}: {problem}" for name, path in source.paths.items() if (problem := _path_problem(rows.schema, path))]
    if problems:
        raise BadData(f"{source_path}: select {'; '.join(problems)}")
    return rows.select(*(F.col(".".join(f"`{part}`" for part in path)).alias(name) for name, path in source.paths.items()))


def _path_problem(schema: T.StructType, path: list[str]) -> str:
    kind: T.DataType = schema
    for at, part in enumerate(path):
        if not isinstance(kind, T.StructType):
            return f"{'.'.join(path[:at])} is {_named(kind)}, which has no columns of its own"
        if part not in kind.names:
            return f"{'.'.join(path[: at + 1])} is missing (there are: {', '.join(kind.names)})"
        kind = kind[part].dataType
    if isinstance(kind, T.StructType | T.ArrayType | T.MapType):
        advice = f"; name one of its columns ({', '.join(kind.names)})" if isinstance(kind, T.StructType) else ""
        return f"{'.'.join(path)} is {_named(kind)} and not a single value{advice}"
    return ""


def _named(kind: T.DataType) -> str:
    name = kind.typeName()
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def zoned(rows: DataFrame) -> DataFrame:
    """Timestamps without zone are taken as UTC."""
    names = [field.name for field in rows.schema if isinstance(field.dataType, T.TimestampNTZType)]
    return rows.withColumns({name: F.col(name).cast("timestamp") for name in names})


def check_columns(rows: DataFrame, source_path: str, source: Source) -> None:
    types = {field.name: field.dataType for field in rows.schema}
    declared = declared_types(source)
    problems = [*_missing(types, source), *_type_problems(types, declared, source), *_unhashable(types)]
    day = types.get(source.partition_column or "")
    if day is not None and not isinstance(day, T.DateType):
        problems.append(
            f"{source.partition_column} is not partitioned by day, with folders such as {source.partition_column}=2026-01-31"
        )
    time = declared.get(source.time_column or "") or types.get(source.time_column or "")
    if time is not None and not isinstance(time, TIMES):
        problems.append(f"{source.time_column} is {time.simpleString()}, not a timestamp or date")
    if problems:
        raise BadData(f"{source_path}: columns {'; '.join(problems)}")


def _missing(types: Mapping[str, T.DataType], source: Source) -> list[str]:
    named = [*source.columns, source.time_column, source.partition_column]
    missing = sorted({name for name in named if name and name not in types})
    return [f"{', '.join(missing)} missing (there are: {', '.join(types)})"] if missing else []


def _type_problems(types: Mapping[str, T.DataType], declared: Mapping[str, T.DataType], source: Source) -> list[str]:
    if source.format in UNTYPED:
        return []
    read = {name: T.TimestampType() if isinstance(kind, T.TimestampNTZType) else kind for name, kind in types.items()}
    return [
        f"{name} is {read[name].simpleString()}, not {expected.simpleString()}"
        for name, expected in declared.items()
        if name in read and read[name] != expected
    ]


def _unhashable(types: Mapping[str, T.DataType]) -> list[str]:
    """Equal maps may have unequal hashes, and the fingerprint is made of row hashes."""
    maps = [name for name, kind in types.items() if "map<" in kind.simpleString()]
    return [f"{', '.join(maps)} hold maps, which no snapshot can fingerprint: name their values under select"] if maps else []


def declared_types(source: Source) -> dict[str, T.DataType]:
    try:
        return {name: T._parse_datatype_string(kind) for name, kind in source.columns.items()}  # fromDDL is of Spark 4 only
    except Exception as error:
        raise BadData(f"columns: {first_line(error)}; use Spark SQL's types, such as double, bigint, string, timestamp") from error


def typed(texts: DataFrame, source_path: str, source: Source) -> DataFrame:
    """Casts strings to the declared types; BadData with column, count and an example where a value cannot be cast."""
    declared = {name: kind.simpleString() for name, kind in declared_types(source).items()}
    fits = {name: F.expr(f"try_cast(`{name}` AS {kind})") for name, kind in declared.items()}
    misfits = {name: F.when(F.col(name).isNotNull() & value.isNull(), F.col(name)) for name, value in fits.items()}
    counts = [F.count(misfit).alias(f"{name}_count") for name, misfit in misfits.items()]
    samples = [F.min(misfit).alias(f"{name}_example") for name, misfit in misfits.items()]
    counted = first_row(texts.agg(*counts, *samples))
    wrong = [
        f"{name} has {counted[f'{name}_count']:,} values that are not {kind}, such as {counted[f'{name}_example']!r}"
        for name, kind in declared.items()
        if counted[f"{name}_count"]
    ]
    if wrong:
        raise BadData(f"{source_path}: {'; '.join(wrong)}")
    others = [name for name in texts.columns if name not in declared]
    return texts.select(*(value.alias(name) for name, value in fits.items()), *others)
