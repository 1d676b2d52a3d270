"""`Platform`: where Spark, MLflow, images and serving live in one deployment. Secrets stay in Airflow connections."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contract.base_model import LongerThanZero, Shape, Strict, without_problems
from contract.errors import InvalidFile
from contract.spark import Spark
from contract.yaml_files import parse_yaml

Url = Annotated[str, Shape(r"^https?://[^\s/@][^\s@]*$", "a URL without user and password such as http://127.0.0.1:5000")]


# A registry's host has a dot, a port or is localhost: Docker takes any other first part for a folder of Docker Hub.
HOST = r"((localhost|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+)(:\d+)?|[A-Za-z0-9-]+:\d+)"


class Images(Strict):
    """Each model has a repository of its own below `repository`."""

    repository: Annotated[
        str,
        Shape(
            rf"^(oci:.+|(https?://)?{HOST}(/[a-z0-9]+([._-]+[a-z0-9]+)*)+)$",
            "oci:FOLDER, or a name in a registry such as registry.example.com/models",
        ),
    ] = Field(description="oci:FOLDER, an OCI image layout; or registry.example.com/models")
    connection: str | None = Field(None, description="Airflow connection with the registry's user and password")
    rootfs: Annotated[str, Shape(r"^.+@sha256:[0-9a-f]{64}$", "NAME@sha256:… or file:PATH@sha256:…")] | None = Field(
        None, description="an image, or a tar of a root folder, with Python 3.11; absent: the hosts bring Python and the packages"
    )
    signing: str | None = Field(
        None, description="Airflow connection whose password is the private key (PEM) that package signs with"
    )
    public_keys: tuple[str, ...] = Field(
        (), description="files of public keys (PEM); where there are any, an image without a signature by one of them is refused"
    )
    keep: int = Field(20, ge=2, description="newest versions of a model that are kept, beside all that were ever live")


class ServingHost(Strict):
    """The host where the controller, the servers and the router run."""

    target: Literal["process", "docker"] = "process"
    home: str = "serving"
    python: str | None = Field(None, description="process: the interpreter of serving's environment")
    url: Url = "http://127.0.0.1:8000"
    router_api: Url = "http://127.0.0.1:8001"
    servers: int = Field(2, ge=1, le=16, description="server processes per digest that takes traffic")
    memory_mb: int = Field(1024, ge=64, description="docker: memory limit of one container")
    cpus: float = Field(1.0, gt=0, le=64, description="docker: CPU limit of one container")
    max_parallel: int = Field(4, ge=1, description="releases at one time; others wait")


class Retention(Strict):
    """How long data that no live version came from is kept after its last use, at least a day; see also `images.keep`."""

    snapshots: LongerThanZero = timedelta(days=14)
    runs: LongerThanZero = timedelta(days=400)


class AlertConnections(Strict):
    slack: str | None = None
    smtp: str | None = None
    sender: str = "airflow-retraining@localhost"


class Platform(Strict):
    name: str
    store: str
    data: str
    mlflow: Url
    spark: Spark
    images: Images
    serving: ServingHost
    retention: Retention = Retention()
    alerts: AlertConnections = AlertConnections()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        if self.serving.target == "process" and self.serving.python is None:
            problems.append("serving.python: missing; target process needs the interpreter of serving's environment")
        if self.serving.target == "docker" and (self.images.repository.startswith("oci:") or self.images.rootfs is None):
            problems.append("serving.target: docker needs images.repository in a registry, and images.rootfs")
        if self.spark.engine in ("emr", "emr_serverless") and not self.store.startswith("s3://"):
            problems.append(f"store: engine {self.spark.engine} needs one in a bucket, s3://BUCKET/PREFIX")
        return without_problems(self, problems)


def load_platform(path: Path, home: Path) -> Platform:
    """Relative paths resolve against `home` (AIRFLOW_HOME): never the checkout, or each commit would get a ledger of its own."""
    try:
        text = path.read_text()
    except OSError as error:
        raise InvalidFile(
            str(path), [f"cannot be read ({error.strerror}); set RETRAINING_PLATFORM to a file in dags/platforms/"]
        ) from None
    return _resolved(parse_yaml(Platform, text, str(path), name=path.stem), home.resolve())


def _resolved(platform: Platform, home: Path) -> Platform:
    def under(path: str) -> str:
        return path if "://" in path else str(home / path)

    repository = platform.images.repository
    if repository.startswith("oci:"):
        repository = f"oci:{under(repository.removeprefix('oci:'))}"
    rootfs = platform.images.rootfs
    if rootfs and rootfs.startswith("file:"):
        rootfs = f"file:{under(rootfs.removeprefix('file:'))}"
    return platform.model_copy(
        update={
            "store": under(platform.store),
            "data": under(platform.data),
            "spark": platform.spark.model_copy(
                update={
                    "python": under(platform.spark.python),
                    "hadoop_conf": platform.spark.hadoop_conf and under(platform.spark.hadoop_conf),
                }
            ),
            "images": platform.images.model_copy(
                update={"repository": repository, "rootfs": rootfs, "public_keys": tuple(map(under, platform.images.public_keys))}
            ),
            "serving": platform.serving.model_copy(
                update={"home": under(platform.serving.home), "python": platform.serving.python and under(platform.serving.python)}
            ),
        }
    )
