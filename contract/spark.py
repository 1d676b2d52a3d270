"""`Spark`: where jobs run, and `Resources`: what they take. Names below driver, executor and dynamicAllocation are Spark's own."""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from contract.base_model import LongerThanZero, Scalar, Shape, Strict, format_duration, without_problems
from contract.emr import Emr, EmrServerless

Memory = Annotated[str, Shape(r"^[1-9]\d{0,5}[mgt]$", "a size such as 512m or 4g")]
Cores = Annotated[int, Field(ge=1, le=1024)]
Count = Annotated[int, Field(ge=0, le=100_000)]
MEGABYTES = {"m": 1, "g": 1024, "t": 1024 * 1024}
SENT, HELD = 1.1, 4  # a collected training matrix as the results of Spark's tasks, and at its most in Python: parts of its size
LEAST_OVERHEAD = 384  # megabytes, Spark's own
# Set by keys of their own, so that limits and retries apply to them.
TYPED = re.compile(
    r"spark\.((driver|executor)\.(memory|cores|memoryOverhead)|executor\.instances|yarn\.queue|yarn\.(maxAppAttempts|tags)"
    r"|yarn\.submit\.waitAppCompletion|dynamicAllocation\.(enabled|minExecutors|maxExecutors))"
)


class Driver(Strict):
    cores: Cores | None = None
    memory: Memory | None = None
    memoryOverhead: Memory | None = None  # noqa: N815  (Spark's name)


class Executor(Driver):
    instances: Count | None = None


class DynamicAllocation(Strict):
    """Number of executors by load; needs a shuffle service, or Spark's own shuffle tracking, which is switched on here."""

    minExecutors: Count | None = None  # noqa: N815
    maxExecutors: Count  # noqa: N815


class Resources(Strict):
    """Resources of a job: the platform's, overridden by the model's own."""

    driver: Driver = Driver()
    executor: Executor = Executor()
    dynamicAllocation: DynamicAllocation | None = None  # noqa: N815
    queue: str | None = Field(None, description="YARN's queue; absent: the connection's")
    time_limit: LongerThanZero | None = Field(None, description="of one job from its start on; absent: the model's deadline")
    no_progress: LongerThanZero | None = Field(
        None, description="a job is ended if none of its Spark tasks ends for so long; absent: 30m"
    )
    retry_memory: float | None = Field(
        None, ge=1, le=4, description="factor on memory for the try after one that ran out of memory; absent: 1.5"
    )
    conf: dict[str, Scalar] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        return without_problems(
            self, [f"conf.{name}: must be set by its own key, outside conf" for name in self.conf if TYPED.fullmatch(name)]
        )


class Limits(Strict):
    """The most that a model's file may ask for; absent: no limit."""

    driver: Driver = Driver()
    executor: Executor = Executor()
    maxExecutors: Count | None = None  # noqa: N815
    queues: tuple[str, ...] = Field((), description="that a model's file may name; empty: any")
    time_limit: LongerThanZero | None = None


class Spark(Resources):
    """`local` runs on the worker's host by spark-submit while a task waits for it; the others run elsewhere, without a slot."""

    engine: Literal["local", "yarn", "emr", "emr_serverless"] = "local"
    connection: str = Field(
        "spark_default",
        description="Airflow connection; local, yarn: of type spark, with master and deploy mode; "
        "emr, emr_serverless: of type aws (absent: aws_default)",
    )
    python: str = Field(description="the interpreter of Spark's environment, which is packed for a cluster")
    hadoop_conf: str | None = Field(None, description="yarn: folder with the cluster's core-site.xml, hdfs-site.xml, yarn-site.xml")
    emr: Emr | None = Field(None, description="emr: which cluster")
    emr_serverless: EmrServerless | None = Field(None, description="emr_serverless: which application")
    driver_matrix: Memory = Field(
        "64m",
        description="XGBoost: a training matrix (rows × features × 4 bytes) up to this size is fitted in the driver's process, "
        "a larger one on the executors",
    )
    price: float | None = Field(None, ge=0, description="of one vCPU for an hour, in any currency: what a job costs is logged")
    limits: Limits = Limits()

    @property
    def has_cluster_per_run(self) -> bool:
        return self.emr is not None and self.emr.job_flow is not None

    @model_validator(mode="before")
    @classmethod
    def _connection(cls, given: Any) -> Any:
        on_aws = isinstance(given, dict) and given.get("engine") in ("emr", "emr_serverless")
        return {"connection": "aws_default", **given} if on_aws else given

    @model_validator(mode="after")
    def _of_engine(self) -> Self:
        problems = []
        if self.engine == "yarn" and not self.hadoop_conf:
            problems.append("hadoop_conf: missing; spark-submit finds the cluster there")
        for name, meaning in (("emr", "which cluster"), ("emr_serverless", "which application")):
            if self.engine == name and getattr(self, name) is None:
                problems.append(f"{name}: missing; it says {meaning}")
            if self.engine != name and getattr(self, name) is not None:
                problems.append(f"{name}: is for engine {name}, not for {self.engine}")
        return without_problems(self, problems)


def merged(platform: Resources, model: Resources) -> Resources:
    """The model's own values over the platform's. A number of executors of its own replaces the platform's dynamic allocation."""
    kept = set(Resources.model_fields) - ({"dynamicAllocation"} if model.executor.instances is not None else set())
    return Resources.model_validate(
        _over(platform.model_dump(include=kept, exclude_none=True), model.model_dump(exclude_none=True))
    )


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    return below | {key: _over(below.get(key) or {}, value) if isinstance(value, dict) else value for key, value in above.items()}


def excesses(requested: Resources, limits: Limits) -> list[str]:
    """One line for each key that asks for more than the platform allows."""
    dynamic = requested.dynamicAllocation
    pairs = {
        f"{part}.{key}": (value, getattr(getattr(limits, part), key))
        for part in ("driver", "executor")
        for key, value in getattr(requested, part).model_dump(exclude_none=True).items()
    }
    pairs["dynamicAllocation.maxExecutors"] = (dynamic.maxExecutors if dynamic else None, limits.maxExecutors)
    pairs["time_limit"] = (requested.time_limit, limits.time_limit)
    problems = [
        f"spark.{key}: {_written(value)} is more than the {_written(limit)} that this platform allows"
        for key, (value, limit) in pairs.items()
        if value is not None and limit is not None and _size(value) > _size(limit)
    ]
    if requested.queue and limits.queues and requested.queue not in limits.queues:
        problems.append(
            f"spark.queue: {requested.queue} is not open to models on this platform (allowed: {', '.join(limits.queues)})"
        )
    return problems


def xgboost_problems(platform: Spark, resources: Resources) -> list[str]:
    """One line for each key of the merged `resources` with which XGBoost cannot be fitted, in the driver or on the executors."""
    problems = []
    if resources.dynamicAllocation:
        why = "XGBoost's executors work as one, so that their number must stay"
        problems.append(f"spark.dynamicAllocation: {why}; write spark.executor.instances in the model's file, which replaces it")
    matrix, driver = megabytes(platform.driver_matrix), resources.driver
    most = _result_size(str(resources.conf.get("spark.driver.maxResultSize", "1g")))
    if 0 < most < matrix * SENT:
        rule = f"the matrix is collected, and conf.spark.driver.maxResultSize is {most:,.0f}m"
        problems.append(f"spark.driver_matrix: {platform.driver_matrix} does not fit: {rule}; raise that to {matrix * SENT:,.0f}m")
    heap = megabytes(driver.memory or "1g")
    overhead = megabytes(driver.memoryOverhead) if driver.memoryOverhead else max(LEAST_OVERHEAD, heap // 10)  # Spark's default
    if platform.engine != "local" and overhead < matrix * HELD:
        rule = f"Python takes {HELD} times that beside the JVM, and spark.driver.memoryOverhead is {overhead:,}m"
        problems.append(f"spark.driver_matrix: {platform.driver_matrix} does not fit: {rule}; raise that, or lower driver_matrix")
    return problems


def megabytes(memory: Memory) -> int:
    return int(memory[:-1]) * MEGABYTES[memory[-1]]


def _result_size(text: str) -> float:
    """In megabytes; 0, as for Spark, is no limit, and also what Spark itself refuses. A number alone is of bytes."""
    size = re.fullmatch(r"(\d+)([kmgt]?)b?", text.lower())
    return int(size[1]) * {"": 2**-20, "k": 2**-10, **MEGABYTES}[size[2]] if size else 0.0


def settings(resources: Resources, limits: Limits, memory_factor: float = 1.0) -> dict[str, str]:
    """As Spark's properties. Memory is multiplied by the factor, but never beyond the limits."""
    named: dict[str, Any] = {**resources.conf, **({"spark.yarn.queue": resources.queue} if resources.queue else {})}
    for part in ("driver", "executor"):
        ours, most = getattr(resources, part), getattr(limits, part)
        for key, value in ours.model_dump(exclude_none=True).items():
            grown = _grown(value, memory_factor, getattr(most, key)) if key.startswith("memory") else value
            named[f"spark.{part}.{key}"] = grown
    if resources.dynamicAllocation:
        dynamic = {"enabled": True, "shuffleTracking.enabled": True, **resources.dynamicAllocation.model_dump(exclude_none=True)}
        named |= {f"spark.dynamicAllocation.{key}": value for key, value in dynamic.items()}
    elif resources.executor.instances is not None:
        named["spark.dynamicAllocation.enabled"] = False  # EMR's default is true
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in named.items()}


def _size(value: str | int | timedelta) -> float:
    """Of memory in megabytes, of a time in seconds; a count as it is."""
    if isinstance(value, str):
        return megabytes(value)
    return value.total_seconds() if isinstance(value, timedelta) else value


def _written(value: str | int | timedelta) -> str:
    return format_duration(value) if isinstance(value, timedelta) else str(value)


def _grown(memory: str, factor: float, most: str | None) -> str:
    size = int(_size(memory))
    grown = max(size, min(int(size * factor), int(_size(most)) if most else int(size * factor)))
    return memory if grown == size else f"{grown}m"
