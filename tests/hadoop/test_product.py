"""The product on YARN, as `make demo PLATFORM=yarn` runs it: a whole run, over the death of the scheduler."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.platforms import hadoop
from demo.platforms.cluster import HADOOP
from tests.hadoop_cluster import require_programs
from tests.integration.checkout import ROOT, Checkout
from tests.integration.product import MODEL, RUN_TIMEOUT_S, Product, Run, running
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

PACKAGES = "lib/python3.11/site-packages"


class OnYarn(Checkout):
    """Its nodes find Spark's packages where they are: unpacking a gigabyte is not what is tested here."""

    def make(self) -> None:
        super().make()
        hadoop.fetch_jars()
        (self.folder / ".build").mkdir()
        (self.folder / ".build/hadoop").symlink_to(ROOT / ".build/hadoop")
        environments = self.folder / ".venv"
        environments.unlink()
        environments.mkdir()
        for source in (ROOT / ".venv").iterdir():
            if source.name != "spark":
                (environments / source.name).symlink_to(source)
        make_thin(ROOT / ".venv/spark", environments / "spark")
        (self.home / "platform").write_text("yarn")
        self.platform = self.home / "yarn.yaml"
        self.python(
            "release", "-c", "from demo import paths; from demo.platforms import cluster; cluster.write_platform(paths.platform())"
        )


def make_thin(real: Path, environment: Path) -> None:
    """An environment whose packages are those of another one."""
    shutil.copytree(real / "bin", environment / "bin", symlinks=True)
    (environment / PACKAGES).mkdir(parents=True)
    (environment / PACKAGES / "there.pth").write_text(f"{real / PACKAGES}\n")
    (environment / PACKAGES / "pyspark").symlink_to(real / PACKAGES / "pyspark")
    for name in ("pyvenv.cfg", "requirements.lock"):
        shutil.copy(real / name, environment)


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    require_programs()
    checkout = OnYarn(ROOT / ".build/integration/on-yarn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HADOOP_CONF_DIR", str(checkout.home / "hadoop/conf"))
        with running(checkout) as product:
            yield product


def applications() -> list[tuple[str, str]]:
    """Jobs and state of each that YARN knows of, the oldest first."""
    return [(app["name"].split()[1], app["state"]) for app in HADOOP.applications(f"model:{MODEL}")]


def has_begun(product: Product, job: str) -> bool:
    store = product.store
    names = [name for run in store.names(f"runs/{MODEL}") for name in store.names(f"runs/{MODEL}/{run}")]
    return any(name.startswith(f"{job}-") and name.endswith(".started.json") for name in names)


def test_a_run_goes_on_over_the_death_of_the_scheduler_while_its_application_is_in_the_cluster(product: Product):
    run = product.trigger()
    until(lambda: has_begun(product, "train"), "the cluster trains", seconds=RUN_TIMEOUT_S)

    product.checkout.service("airflow-scheduler").kill()

    ended = product.ended(run)
    assert ended == Run("success", dict.fromkeys(ended.tasks, "success"))
    assert applications() == [("validate+train+compare", "FINISHED")]
    assert product.serving_version() == "1"
    assert product.alias.get(MODEL) == 1
