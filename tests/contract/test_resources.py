"""Resources of a job: the model's over the platform's, within its limits, with more memory after running out of it."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from contract.spark import (
    Driver,
    DynamicAllocation,
    Executor,
    Limits,
    Resources,
    Spark,
    excesses,
    merged,
    settings,
    xgboost_problems,
)

PLATFORM = Spark(
    python="python",
    driver=Driver(memory="2g", cores=1),
    executor=Executor(memory="4g", cores=2, instances=4),
    queue="default",
    conf={"spark.sql.shuffle.partitions": 64, "spark.ui.enabled": False},
)


def test_the_models_own_values_stand_over_the_platforms():
    model = Resources(executor=Executor(memory="8g"), queue="ml", conf={"spark.sql.shuffle.partitions": 8})

    assert merged(PLATFORM, model) == Resources(
        driver=Driver(memory="2g", cores=1),
        executor=Executor(memory="8g", cores=2, instances=4),
        queue="ml",
        conf={"spark.sql.shuffle.partitions": 8, "spark.ui.enabled": False},
    )
    assert merged(PLATFORM, Resources()).queue == "default"


def test_settings_have_sparks_names():
    resources = Resources(
        driver=Driver(memory="2g", memoryOverhead="512m"),
        executor=Executor(cores=4),
        dynamicAllocation=DynamicAllocation(maxExecutors=10),
        queue="ml",
        conf={"spark.ui.enabled": False},
    )

    assert settings(resources, Limits()) == {
        "spark.ui.enabled": "false",
        "spark.yarn.queue": "ml",
        "spark.driver.memory": "2g",
        "spark.driver.memoryOverhead": "512m",
        "spark.executor.cores": "4",
        "spark.dynamicAllocation.enabled": "true",
        "spark.dynamicAllocation.shuffleTracking.enabled": "true",
        "spark.dynamicAllocation.maxExecutors": "10",
    }


@pytest.mark.parametrize(
    ("factor", "most", "grown"),
    [(1, None, "2g"), (1.5, None, "3072m"), (2.25, None, "4608m"), (2.25, "4g", "4096m"), (1.5, "1g", "2g")],
)
def test_memory_grows_by_the_factor_up_to_the_cap_and_never_shrinks(factor, most, grown):
    resources = Resources(executor=Executor(memory="2g", cores=2))

    assert settings(resources, Limits(executor=Executor(memory=most)), factor) == {
        "spark.executor.memory": grown,
        "spark.executor.cores": "2",
    }


@pytest.mark.parametrize(
    ("requested", "problems"),
    [
        (Resources(executor=Executor(memory="8g")), []),
        (Resources(), []),
        (
            Resources(executor=Executor(memory="9000m", cores=5, instances=11)),
            [
                "spark.executor.cores: 5 is more than the 4 that this platform allows",
                "spark.executor.memory: 9000m is more than the 8g that this platform allows",
                "spark.executor.instances: 11 is more than the 10 that this platform allows",
            ],
        ),
        (
            Resources(dynamicAllocation=DynamicAllocation(maxExecutors=11)),
            ["spark.dynamicAllocation.maxExecutors: 11 is more than the 10 that this platform allows"],
        ),
        (Resources(queue="root"), ["spark.queue: root is not open to models on this platform (allowed: ml, default)"]),
        (Resources(time_limit=timedelta(hours=3)), ["spark.time_limit: 3h is more than the 2h that this platform allows"]),
    ],
)
def test_what_is_above_the_platforms_caps_is_told(requested, problems):
    limits = Limits(
        executor=Executor(memory="8g", cores=4, instances=10),
        maxExecutors=10,
        queues=("ml", "default"),
        time_limit=timedelta(hours=2),
    )

    assert excesses(requested, limits) == problems


def test_a_number_of_executors_replaces_the_platforms_dynamic_allocation():
    platform = Resources(executor=Executor(cores=4), dynamicAllocation=DynamicAllocation(maxExecutors=10))
    model = Resources(executor=Executor(instances=3))

    assert settings(merged(platform, model), Limits()) == {
        "spark.executor.cores": "4",
        "spark.executor.instances": "3",
        "spark.dynamicAllocation.enabled": "false",  # true by default on EMR
    }


DYNAMIC = (
    "spark.dynamicAllocation: XGBoost's executors work as one, so that their number must stay; "
    "write spark.executor.instances in the model's file, which replaces it"
)


@pytest.mark.parametrize(
    ("engine", "matrix", "resources", "problems"),
    [
        ("local", "64m", Resources(), []),
        ("local", "900m", Resources(), []),  # Python has the host's memory
        ("yarn", "96m", Resources(), []),  # Spark's least overhead is 384m
        ("yarn", "512m", Resources(driver=Driver(memoryOverhead="2g")), []),
        ("yarn", "512m", Resources(driver=Driver(memory="20g")), []),  # whose tenth is 2048m
        (
            "yarn",
            "97m",
            Resources(),
            [
                "spark.driver_matrix: 97m does not fit: Python takes 4 times that beside the JVM, "
                "and spark.driver.memoryOverhead is 384m; raise that, or lower driver_matrix"
            ],
        ),
        (
            "local",
            "1g",
            Resources(),
            [
                "spark.driver_matrix: 1g does not fit: the matrix is collected, and conf.spark.driver.maxResultSize is 1,024m; "
                "raise that to 1,126m"
            ],
        ),
        ("local", "1g", Resources(conf={"spark.driver.maxResultSize": "2G"}), []),
        ("local", "1g", Resources(conf={"spark.driver.maxResultSize": 0}), []),  # no limit
        ("local", "64m", Resources(dynamicAllocation=DynamicAllocation(maxExecutors=8)), [DYNAMIC]),
    ],
)
def test_what_xgboost_cannot_be_fitted_with_is_told(engine, matrix, resources, problems):
    platform = Spark(engine=engine, python="python", driver_matrix=matrix, hadoop_conf="conf" if engine == "yarn" else None)

    assert xgboost_problems(platform, resources) == problems


@pytest.mark.parametrize(
    "name", ["spark.executor.memory", "spark.yarn.tags", "spark.yarn.maxAppAttempts", "spark.dynamicAllocation.enabled"]
)
def test_a_setting_with_a_key_of_its_own_is_refused_as_conf(name):
    with pytest.raises(ValidationError, match=f"conf.{name}: must be set by its own key, outside conf"):
        Resources(conf={name: "1"})
