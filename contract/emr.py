"""`Emr` and `EmrServerless`: where Spark jobs run on AWS. Names are those of AWS's own API."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from contract.base_model import Duration, Shape, Strict, without_problems

S3Folder = Annotated[str, Shape(r"^s3://[^/\s]+(/\S*)?$", "a folder such as s3://BUCKET/logs")]
InstanceType = Annotated[str, Shape(r"^[a-z0-9-]+\.[a-z0-9-]+$", "an instance type such as m7i.xlarge")]
Subnet = Annotated[str, Shape(r"^subnet-[0-9a-f]+$", "a subnet such as subnet-0a1b2c3d")]
Interpreter = Annotated[str, Shape(r"^/\S+$", "the absolute path of an interpreter")]


def between_one_minute_and_seven_days(value: timedelta) -> timedelta:
    if not timedelta(minutes=1) <= value <= timedelta(days=7):
        raise ValueError("must be at least 1m and at most 7d")
    return value


IdleTimeout = Annotated[Duration, AfterValidator(between_one_minute_and_seven_days)]


class Fleet(Strict):
    """Nodes of one role, of whichever of these types AWS has; a count for each market."""

    instance_types: tuple[InstanceType, ...] = Field(min_length=1, max_length=30)
    on_demand: int = Field(0, ge=0, le=1000)
    spot: int = Field(
        0, ge=0, le=1000, description="may be reclaimed at any time; bought on demand where there is none for 10 minutes"
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        return without_problems(self, [] if self.on_demand + self.spot else ["on_demand, spot: one of them must be at least 1"])


class Primary(Strict):
    """The primary node, one and never spot: the cluster ends with it."""

    instance_types: tuple[InstanceType, ...] = Field(min_length=1, max_length=30)


class JobFlow(Strict):
    """A cluster that is made for each run and ends with it, and after `idle_timeout` in any case."""

    release_label: Annotated[str, Shape(r"^emr-(spark-)?\d+\.\d+\.\d+$", "a release such as emr-spark-8.0.0")]
    primary: Primary
    core: Fleet = Field(description="holds HDFS, which Spark's shuffles do not need: mostly on demand")
    task: Fleet | None = Field(None, description="holds no data: fit for spot")
    subnets: tuple[Subnet, ...] = Field(min_length=1, max_length=16)
    job_flow_role: str = Field(description="instance profile of its nodes, which the jobs read and write as")
    service_role: str
    log_uri: S3Folder
    idle_timeout: IdleTimeout = timedelta(minutes=15)
    tags: dict[str, str] = {}


class Emr(Strict):
    cluster: Annotated[str, Shape(r"^j-[0-9A-Z]{1,253}$", "a cluster id such as j-2AL4XXXXXX5T9")] | None = Field(
        None, description="id of an existing cluster"
    )
    job_flow: JobFlow | None = Field(None, description="a cluster that is made for each run")
    python: Interpreter = Field("/usr/bin/python3.11", description="of the nodes; the shipped environment uses it")

    @model_validator(mode="after")
    def _one(self) -> Self:
        one = (self.cluster is None) != (self.job_flow is None)
        return without_problems(self, [] if one else ["cluster, job_flow: exactly one of them must be set"])


class EmrServerless(Strict):
    application: Annotated[str, Shape(r"^[0-9a-z]{1,64}$", "an application id such as 00f1abcdexample")]
    execution_role: Annotated[str, Shape(r"^arn:aws[a-zA-Z0-9-]*:iam::\d{12}:role/\S+$", "a role's ARN")]
    log_uri: S3Folder
    python: Interpreter = Field("/usr/bin/python3.11", description="of the workers' image; the shipped environment uses it")
