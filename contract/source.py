"""`Source`: one table that examples are made of, wherever Spark can read one. docs/sources.md describes each format."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from difflib import get_close_matches
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from contract.base_model import LongerThanZero, Shape, Strict, without_problems
from contract.gate import Column

FILES = ("csv", "json", "parquet", "orc", "avro")
UNTYPED = ("csv", "json")
FORMATS = (*FILES, "delta", "libsvm", "jdbc", "table")
CONNECTOR = "connector"  # any other format
KEYS = {  # key: the kinds that it belongs to; what is not here belongs to all
    "path": (*FILES, "delta", "libsvm", CONNECTOR),
    "table": ("delta", "jdbc", "table"),
    "version": ("delta",),
    "timestamp": ("delta",),
    "jdbc": ("jdbc",),
    "partition_column": (*FILES, "delta", "table", CONNECTOR),
}
TYPED = {  # options of Spark that have a key of their own here
    "delta": {"versionasof": "version", "timestampasof": "timestamp"},
    "jdbc": {
        "dbtable": "table",
        **{name.lower(): f"jdbc.{name}" for name in ("partitionColumn", "lowerBound", "upperBound", "numPartitions", "fetchsize")},
    },
}
SECRET_NAME = re.compile(
    r"pass(w|phrase)|pwd|secret|token|(access|account|api|private|shared)[._-]?key|credentials$", re.IGNORECASE
)
SECRET_VALUE = re.compile(  # user:password@, Oracle's user/password@, ;password=…
    r"://[^/\s@]*:[^/\s@]*@|:thin:[^@\s]+/[^@\s]*@|(passw\w*|pwd|secret|token|access_?key)=", re.IGNORECASE
)
PART = r"([^.`]+|`[^`]+`)"

Format = Annotated[str, Shape(r"^[A-Za-z][\w.$-]*$", "a format of Spark, such as parquet, or a connector's name or class")]
Path = Annotated[str, Shape(rf"^{PART}(\.{PART})*$", "a path of names such as user.address.city")]
Table = Annotated[str, Shape(r'^([\w$]+|"[^"]+")(\.([\w$]+|"[^"]+")){0,3}$', "a table's name such as shop.orders")]
Alias = Annotated[str, Shape(r"^[a-z0-9][a-z0-9._-]*$", "an alias of small letters, digits, dots, _ and -")]


def path_parts(path: str) -> list[str]:
    """«user.`home.address`.city» has three."""
    return [part.strip("`") for part in re.findall(r"`[^`]+`|[^.`]+", path)]


def _parse_time(value: Any) -> datetime:
    """A time without a zone is UTC."""
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError("must be a time such as 2026-01-31T00:00:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _parse_bound(value: Any) -> int | date:
    if isinstance(value, int | date) and not isinstance(value, bool | datetime):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise ValueError("must be a whole number, or a date such as 2026-01-31") from None


def _without_secrets(options: Any) -> Any:
    """Runs first, so that no other message can echo a secret."""
    if isinstance(options, dict):
        advice = "which must not be in this file; write secrets: {OPTION: ALIAS}, see docs/sources.md"
        problems = [f"{name}: is a secret, {advice}" for name in options if SECRET_NAME.search(str(name))]
        problems += [f"{name}: holds a secret, {advice}" for name, value in options.items() if SECRET_VALUE.search(str(value))]
        if problems:
            raise ValueError(*problems)
    return options


Bound = Annotated[int | date, BeforeValidator(_parse_bound)]


def _is_range(low: int | date, high: int | date) -> bool:
    """False for bounds of different types."""
    if isinstance(low, int):
        return isinstance(high, int) and low < high
    return not isinstance(high, int) and low < high


class Jdbc(Strict):
    """How a table of a database is read in parallel, by Spark's names. Bounds only divide the rows; they leave none out."""

    partitionColumn: Column | None = None  # noqa: N815
    lowerBound: Bound | None = None  # noqa: N815
    upperBound: Bound | None = None  # noqa: N815
    numPartitions: int | None = Field(None, ge=2, le=1000, description="connections at one time")  # noqa: N815
    fetchsize: int = Field(10_000, ge=1, description="rows per round trip; PostgreSQL's own driver would take all at once")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.lowerBound, self.upperBound
        problems = []
        if (self.partitionColumn is None) != (self.numPartitions is None):
            problems.append("partitionColumn: must be set together with numPartitions")
        if (low is None) != (high is None):
            problems.append("lowerBound: must be set together with upperBound")
        if low is not None and self.partitionColumn is None:
            problems.append("lowerBound: needs partitionColumn")
        if low is not None and high is not None and not _is_range(low, high):
            problems.append("upperBound: must be more than lowerBound, and of the same type")
        return without_problems(self, problems)


class Source(Strict):
    """`columns` (name: Spark SQL type) is required where a format has no types. With `select`, only its names exist."""

    format: Format = Field(examples=list(FORMATS), description=f"{', '.join(FORMATS)}, or a connector's name or class")
    path: str | None = Field(None, min_length=1, description="a URI, or below the platform's data")
    table: Table | None = Field(None, description="of a catalogue, or of a database")
    version: int | None = Field(None, ge=0, description="of a Delta table; absent: the newest, when the job reads")
    timestamp: Annotated[datetime, BeforeValidator(_parse_time)] | None = Field(
        None, description="reads the version that a Delta table had then"
    )
    columns: dict[Column, str] = {}
    select: dict[Column, Path] = Field({}, description="name: path of a column, such as city: user.address.city")
    options: Annotated[dict[str, str], BeforeValidator(_without_secrets)] = {}
    secrets: dict[str, Alias] = Field({}, description="option: its alias in the Hadoop credential provider of Spark's conf")
    jdbc: Jdbc | None = None
    time_column: Column | None = None
    partition_column: Column | None = None
    allow_future: tuple[Column, ...] = Field((), description="times that may lie after as_of, such as a planned arrival")
    window: LongerThanZero | None = None
    max_age: LongerThanZero | None = None

    @property
    def kind(self) -> str:
        return self.format if self.format in FORMATS else CONNECTOR

    @property
    def paths(self) -> dict[str, list[str]]:
        """Path in the stored rows of each column that the spec names."""
        return {name: self.path_of(name) for name in self.select or self.columns}

    @property
    def by_time(self) -> bool:
        """Whether a JDBC table is partitioned by the time that the window filters on."""
        return bool(self.jdbc and self.time_column and self.path_of(self.time_column) == [self.jdbc.partitionColumn])

    def path_of(self, name: str) -> list[str]:
        return path_parts(self.select[name]) if name in self.select else [name]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        meant = get_close_matches(self.format.lower(), FORMATS, n=1, cutoff=0.8) if self.kind == CONNECTOR else []
        if meant:
            return without_problems(self, [f"format: {self.format} is unknown (did you mean '{meant[0]}'?)"])
        problems = (self._key_problems(), self._location_problems(), self._column_problems(), self._jdbc_problems())
        return without_problems(self, [problem for several in problems for problem in several])

    def _key_problems(self) -> Iterator[str]:
        for key, kinds in KEYS.items():
            if getattr(self, key) is not None and self.kind not in kinds:
                yield f"{key}: belongs to format {', '.join(kinds)}, not to {self.format}"
        for key in ("window", "max_age", "partition_column"):
            if getattr(self, key) is not None and self.time_column is None:
                yield f"{key}: needs time_column"
        own = TYPED.get(self.kind, {})
        yield from (f"options.{name}: must be set by the key {own[name.lower()]}" for name in self.options if name.lower() in own)

    def _location_problems(self) -> Iterator[str]:
        if self.path and SECRET_VALUE.search(self.path):
            yield "path: holds a secret, which must not be in this file"
        if self.kind in (*FILES, "libsvm") and self.path is None:
            yield "path: missing"
        if self.kind in ("jdbc", "table") and self.table is None:
            yield "table: missing"
        if self.kind == "delta" and (self.path is None) == (self.table is None):
            yield "path: a Delta table needs either path or table"
        if self.version is not None and self.timestamp is not None:
            yield "timestamp: cannot be combined with version"
        if self.kind == "libsvm" and not re.fullmatch(r"[1-9]\d{0,4}", self.options.get("numFeatures", "")):
            yield "options.numFeatures: missing; say how many features there are, such as '692'"

    def _column_problems(self) -> Iterator[str]:
        untyped = [name for name in self.select if name not in self.columns]
        if self.kind in UNTYPED and (untyped or not self.columns):
            of = f" for {', '.join(untyped)}" if self.columns else ""
            yield f"columns: missing{of}; {self.format} has no types of its own (write name: type, such as distance: double)"
        if self.select:
            named = [("columns", name) for name in self.columns] + [("allow_future", name) for name in self.allow_future]
            named += [(key, name) for key in ("time_column", "partition_column") if (name := getattr(self, key))]
            yield from (f"{key}: {name} is not in select" for key, name in named if name not in self.select)
        if self.kind == "csv":
            yield from (f"select.{name}: csv has no nested columns" for name, path in self.paths.items() if len(path) > 1)

    def _jdbc_problems(self) -> Iterator[str]:
        if self.kind == "jdbc" and not self.options.get("url", "").startswith("jdbc:"):
            yield "options.url: missing, such as jdbc:postgresql://db.example.com/shop"
        jdbc = self.jdbc
        if jdbc and jdbc.partitionColumn and jdbc.lowerBound is None and not (self.by_time and self.window):
            yield "jdbc.lowerBound: missing, with upperBound; only a window on the partitionColumn replaces them"
