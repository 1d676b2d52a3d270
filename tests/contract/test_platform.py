"""A platform's file: paths under AIRFLOW_HOME, and messages for mistakes."""

from pathlib import Path

import pytest

from contract.errors import InvalidFile
from contract.platform import load_platform
from contract.spark import Spark

PLATFORMS = Path(__file__).resolve().parents[2] / "dags" / "platforms"
GOOD = """
store: retraining
data: data
mlflow: http://127.0.0.1:5000
spark: {connection: spark_local, python: ../venv/bin/python, conf: {spark.ui.enabled: false}}
images: {repository: "oci:retraining/images"}
serving: {python: ../venv/bin/python}
"""


DOCKER_NEEDS = "docker needs images.repository in a registry, and images.rootfs"
PROCESS_NEEDS = "missing; target process needs the interpreter of serving's environment"
REPOSITORY = "must be oci:FOLDER, or a name in a registry such as registry.example.com/models"


@pytest.fixture
def write(tmp_path):
    def to_file(text: str) -> Path:
        path = tmp_path / "local.yaml"
        path.write_text(text)
        return path

    return to_file


@pytest.mark.parametrize("file", sorted(PLATFORMS.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_platform_that_is_here_can_be_loaded(file, tmp_path):
    assert load_platform(file, tmp_path).name == file.stem


def test_relative_paths_start_from_airflow_home_and_nowhere_else(write, tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.chdir("/")

    platform = load_platform(write(GOOD), home)

    assert (platform.name, platform.store, platform.data) == ("local", f"{home}/retraining", f"{home}/data")
    assert platform.images.repository == f"oci:{home}/retraining/images"
    assert platform.serving.home == f"{home}/serving"
    assert platform.spark.python == f"{home}/../venv/bin/python"


def test_absolute_paths_and_addresses_stay_as_they_are(write, tmp_path):
    text = GOOD.replace("store: retraining", "store: /srv/store").replace("data: data", "data: s3://bucket/data")

    platform = load_platform(write(text), tmp_path)

    assert (platform.store, platform.data) == ("/srv/store", "s3://bucket/data")


@pytest.mark.parametrize(
    ("written", "wrong", "problem"),
    [
        ("store: retraining", "stor: retraining", "stor: unknown key (did you mean 'store'?)"),
        ("store: retraining", "name: local\nstore: retraining", "name: must not be set: it is the file's name"),
        (
            "http://127.0.0.1:5000",
            "127.0.0.1:5000",
            "mlflow: must be a URL without user and password such as http://127.0.0.1:5000 (is '127.0.0.1:5000')",
        ),
        ("oci:retraining", "retraining", f"images.repository: {REPOSITORY} (is 'retraining/images')"),
        (
            "oci:retraining/images",
            "registry.example.com/Models",
            f"images.repository: {REPOSITORY} (is 'registry.example.com/Models')",
        ),
        ("oci:retraining/images", "ann:s3cret@registry.example.com/models", f"images.repository: {REPOSITORY}"),
        ("spark: {", "spark: {engine: mesos, ", "spark.engine: must be 'local', 'yarn', 'emr' or 'emr_serverless' (is 'mesos')"),
        ("spark: {", "spark: {engine: yarn, ", "spark.hadoop_conf: missing; spark-submit finds the cluster there"),
        ("spark: {", "spark: {engine: emr, ", "spark.emr: missing; it says which cluster"),
        ("spark: {", "spark: {emr: {cluster: j-ABC}, ", "spark.emr: is for engine emr, not for local"),
        ("spark: {", "spark: {engine: emr, emr: {}, ", "spark.emr: cluster, job_flow: exactly one of them must be set"),
        (
            "spark: {",
            "spark: {engine: emr, emr: {cluster: main}, ",
            "spark.emr.cluster: must be a cluster id such as j-2AL4XXXXXX5T9 (is 'main')",
        ),
        ("spark: {", "spark: {engine: emr, emr: {cluster: j-ABC}, ", "store: engine emr needs one in a bucket, s3://BUCKET/PREFIX"),
        ("spark: {", "spark: {engine: emr_serverless, ", "spark.emr_serverless: missing; it says which application"),
        ("spark: {", "spark: {driver: {memory: 2}, ", "spark.driver.memory: must be text (is 2)"),
        ("spark: {", "spark: {driver: {memory: 2GB}, ", "spark.driver.memory: must be a size such as 512m or 4g (is '2GB')"),
        (
            "{spark.ui.enabled: false}",
            "{spark.driver.memory: 2g}",
            "spark.conf.spark.driver.memory: must be set by its own key, outside conf",
        ),
        ("serving: {", "serving: {servers: 0, ", "serving.servers: must be at least 1 (is 0)"),
        ("serving: {", "serving: {target: podman, ", "serving.target: must be 'process' or 'docker' (is 'podman')"),
        (
            "serving: {",
            "serving: {target: docker, ",
            f"serving.target: {DOCKER_NEEDS}",
        ),
        ("false}", "[1]}", "spark.conf.spark.ui.enabled: must be one number, one text, true or false"),
        (
            "serving: {python: ../venv/bin/python}",
            "serving: {}",
            f"serving.python: {PROCESS_NEEDS}",
        ),
        ("data: data", "data:", "data: must be text (is empty)"),
    ],
)
def test_a_mistake_is_told_where_it_is_and_what_is_wanted(write, tmp_path, written, wrong, problem):
    with pytest.raises(InvalidFile) as caught:
        load_platform(write(GOOD.replace(written, wrong)), tmp_path)

    assert problem in caught.value.problems


ON_AWS = GOOD.replace("store: retraining", "store: s3://bucket/retraining").replace("connection: spark_local, ", "")
JOB_FLOW = """{release_label: emr-spark-8.0.0, primary: {instance_types: [m7i.xlarge]},
  core: {instance_types: [r7i.xlarge], on_demand: 2}, subnets: [subnet-0a1b], job_flow_role: nodes, service_role: emr, log_uri: s3://bucket/logs}"""


@pytest.mark.parametrize("engine", [f"engine: emr, emr: {{job_flow: {JOB_FLOW}}}", "engine: emr, emr: {cluster: j-2AL4}"])
def test_on_aws_the_connection_is_by_default_awss(write, tmp_path, engine):
    spark = load_platform(write(ON_AWS.replace("spark: {", f"spark: {{{engine}, ")), tmp_path).spark

    assert spark.connection == "aws_default"
    assert Spark.model_validate_json(spark.model_dump_json()) == spark


@pytest.mark.parametrize(
    ("written", "wrong", "problem"),
    [
        ("emr-spark-8.0.0", "v8", "release_label: must be a release such as emr-spark-8.0.0 (is 'v8')"),
        ("on_demand: 2", "on_demand: 0", "core: on_demand, spot: one of them must be at least 1"),
        ("[subnet-0a1b]", "[]", "subnets: must not be empty"),
        (
            "job_flow_role: nodes",
            "idle_timeout: 30s, job_flow_role: nodes",
            "idle_timeout: must be at least 1m and at most 7d (is '30s')",
        ),
        ("[m7i.xlarge]}", "[m7i.xlarge], spot: 1}", "primary.spot: unknown key (known here: instance_types)"),
    ],
)
def test_a_mistake_in_a_cluster_of_its_own_is_told(write, tmp_path, written, wrong, problem):
    text = ON_AWS.replace("spark: {", f"spark: {{engine: emr, emr: {{job_flow: {JOB_FLOW.replace(written, wrong)}}}, ")

    with pytest.raises(InvalidFile) as caught:
        load_platform(write(text), tmp_path)

    assert caught.value.problems == [f"spark.emr.job_flow.{problem}"]


@pytest.mark.parametrize(
    "name", ["registry.example.com/models", "http://registry:5000/a/b-c", "localhost/models", "r.example.com:5000/m"]
)
def test_images_may_lie_in_a_registry(write, tmp_path, name):
    assert load_platform(write(GOOD.replace("oci:retraining/images", name)), tmp_path).images.repository == name


@pytest.mark.parametrize("address", ["http://ann:s3cret@mlflow:5000", "ann:s3cret@mlflow:5000", "http://ann:s3/cret@mlflow"])
@pytest.mark.parametrize("key", ["mlflow", "url", "router_api"])
def test_an_address_with_a_password_is_refused_and_not_repeated(write, tmp_path, key, address):
    text = GOOD.replace("http://127.0.0.1:5000", address) if key == "mlflow" else GOOD[:-2] + f', {key}: "{address}"}}'

    with pytest.raises(InvalidFile, match=f"{key}: must be a URL without user and password such as ") as caught:
        load_platform(write(text), tmp_path)

    assert "cret" not in str(caught.value)


def test_a_file_that_is_not_there_says_how_platforms_are_chosen(tmp_path):
    with pytest.raises(InvalidFile, match=r"cannot be read \(No such file or directory\); set RETRAINING_PLATFORM to a file"):
        load_platform(tmp_path / "nowhere.yaml", tmp_path)
