"""Files that people wrote become DAGs, whatever is in them."""

import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from contract.errors import InvalidFile
from contract.spark import Spark
from plugins.retraining.catalog import load_model, platform_for
from plugins.retraining.dag import build_dag
from tests.plugins import airflow_internals as internals
from tests.plugins.fakes import FakeEngine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dags(bundle):
    bag = internals.parsed(bundle / "dags" / "retraining.py")
    assert bag.import_errors == {}
    return bag.dags


def test_every_file_is_a_dag_of_its_own_name_and_a_broken_one_harms_no_other(dags):
    assert {name: "broken-spec" in dag.tags for name, dag in dags.items()} == {
        "late": False,
        "not_utf8": True,
        "worse": True,
        "wrong": True,
        "yaml_with_tabs": True,
    }


def test_a_file_whose_name_does_not_do_says_so_in_a_dag_of_its_own_and_hides_no_other(bundle, tmp_path):
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    models = copy / "dags" / "models"
    for path in models.iterdir():
        if path.stem != "late":
            path.unlink()
    late = (models / "late.yaml").read_text()
    for name in ("late.yml", "path.yaml", "two words.yaml", "two_words.yaml", "two~words.yaml", "UPPER.YAML", "notes.txt"):
        (models / name).write_text(late)

    dags = internals.parsed(copy / "dags" / "retraining.py").dags

    sentences = {name: dag.doc_md.splitlines()[-1].strip() for name, dag in dags.items() if "broken-spec" in dag.tags}
    spaced, waved = sorted(name for name in sentences if name.startswith("two_words-"))
    assert sorted(set(dags) - set(sentences)) == ["late", "path", "two_words"]
    assert sentences == {
        "late.yml": "a model's file must end in .yaml: rename it to late.yaml, or remove it",
        "UPPER.YAML": "a model's file must end in .yaml: rename it to UPPER.yaml, or remove it",
        spaced: "another file has the DAG id two_words: rename this one",
        waved: "another file has the DAG id two_words: rename this one",
    }
    assert {dags[name].description for name in (spaced, waved)} == {
        "two words.yaml is invalid",
        "two~words.yaml is invalid",
    }


def test_a_broken_dag_shows_all_problems_of_spec_and_named_files_and_never_runs_by_itself(dags):
    wrong = dags["wrong"]

    assert wrong.schedule is None
    assert wrong.doc_md.splitlines()[2:] == [
        "    wrong.yaml: schedule: '61 6 * * *' is not a cron expression; write five fields such as \"0 6 * * *\", or @daily",
        "    wrong.yaml: examples.sql: there is no file dags/models/absent.sql",
        "    wrong.yaml: expectations.parcels: there is no file expectations/nothing_here.json",
    ]


def test_a_file_that_is_no_text_and_one_indented_by_tabs_say_what_to_do(dags):
    assert "not_utf8.yaml: byte 17 is not UTF-8; save the file as UTF-8" in dags["not_utf8"].doc_md
    assert "yaml_with_tabs.yaml: line 2, column 1: not YAML: " in dags["yaml_with_tabs"].doc_md
    assert "indent with blanks, not tabs" in dags["yaml_with_tabs"].doc_md


def test_the_task_of_a_broken_dag_fails_with_the_problems(dags):
    from contract.errors import InvalidFile

    with pytest.raises(InvalidFile, match=r"wrong.yaml: 3 problems: .*not a cron expression.*absent.sql"):
        dags["wrong"].get_task("broken_spec").execute({})


def test_a_platform_that_cannot_be_used_is_shown_by_every_model(bundle, monkeypatch):
    from plugins.retraining.dag import dag_for

    monkeypatch.setenv("RETRAINING_PLATFORM", "no/such/platform.yaml")

    dag = dag_for(bundle / "dags" / "models" / "late.yaml")

    assert dag.tags == {"retraining", "broken-spec"}
    assert "platform.yaml: cannot be read (No such file or directory); set RETRAINING_PLATFORM" in dag.doc_md


@pytest.mark.parametrize(
    ("of_the_model", "problems"),
    [
        (
            "",
            [
                "late.yaml: spark.dynamicAllocation: XGBoost's executors work as one, so that their number must stay; "
                "write spark.executor.instances in the model's file, which replaces it"
            ],
        ),
        ("spark: {executor: {instances: 2}}", []),
    ],
)
def test_dynamic_allocation_is_refused_for_xgboost_until_the_model_says_a_number(bundle, tmp_path, of_the_model, problems):
    from plugins.retraining.catalog import load_model_and_platform

    copy = shutil.copytree(bundle, tmp_path / "bundle")
    path, platform = copy / "dags" / "models" / "late.yaml", copy / "dags" / "platforms" / "test.yaml"
    text = re.sub(r"algorithm:.*", f"algorithm: {{name: xgboost_classifier}}\n{of_the_model}", path.read_text())
    path.write_text(text)
    platform.write_text(platform.read_text().replace("engine: local,", "engine: local, dynamicAllocation: {maxExecutors: 8},"))

    try:
        load_model_and_platform(path)
        refused_for = []
    except InvalidFile as error:
        refused_for = error.problems

    assert refused_for == problems


def test_a_model_has_its_eight_steps_in_one_line_and_its_limits(dags):
    late = dags["late"]

    assert [(task.task_id, task.task_display_name) for task in late.topological_sort()] == [
        ("freeze_run", "Freeze run"),
        ("validate", "Validate data"),
        ("train", "Train challenger"),
        ("compare", "Compare on holdout"),
        ("decide", "Decide"),
        ("package", "Package image"),
        ("check", "Check image"),
        ("release", "Release"),
    ]
    assert all(task.doc_md for task in late.tasks)
    assert (late.max_active_runs, late.catchup, late.owner) == (1, False, "parcels")
    assert late.start_date.isoformat() == "2013-01-01T00:00:00+00:00"
    assert late.end_date.isoformat() == "2013-12-31T23:59:59.999999+00:00"
    assert late.params.dump() == {"as_of": None, "data": None, "release": True}


def test_deadline_alerts_come_at_four_fifths_and_at_the_deadline(dags):
    assert [(alert.interval, alert.callback.path) for alert in dags["late"].deadline] == [
        (480, "plugins.retraining.alerts.deadline_near"),
        (600, "plugins.retraining.alerts.deadline_broken"),
    ]


def test_links_survive_serialization_without_a_plugin(dags):
    late = internals.reserialized(dags["late"])

    assert {task.task_id: sorted(task.extra_links) for task in late.tasks if len(task.extra_links) > 1} == {
        "validate": ["Document", "Spark application"],
        "train": ["Document", "MLflow run", "Spark application"],
        "compare": ["Document", "Spark application"],
        "decide": ["Document", "Verdict page"],
        "release": ["Document", "Live endpoint"],
    }


def test_a_schedule_that_has_ended_starts_nothing(dags):
    late = internals.reserialized(dags["late"])

    assert late.next_dagrun_info(last_automated_run_info=None) is None


@pytest.fixture
def late(bundle, tmp_path):
    """Writes the model `late` anew with these lines in place of its own, and gives back its file."""

    def write(schedule: str, probation: str) -> Path:
        copy = shutil.copytree(bundle, tmp_path / "bundle", dirs_exist_ok=True)
        path = copy / "dags" / "models" / "late.yaml"
        text = path.read_text().replace('schedule: "0 6 * * *"', schedule)
        path.write_text(text.replace("min_requests: 1}", f"min_requests: 1{probation}}}"))
        return path

    return write


@pytest.mark.parametrize(
    ("schedule", "probation", "filled_in"),
    [
        ('schedule: "0 6 * * *"', "", timedelta(hours=1)),
        ('schedule: "@hourly"', "", timedelta(minutes=30)),
        ('schedule: "*/5 * * * *"', "", timedelta(minutes=2, seconds=30)),
        ('schedule: "0 8,9 * * 1-5"', "", timedelta(minutes=30)),
        ("", "", timedelta(hours=1)),
        ("", ", probation: 9d", timedelta(days=9)),
        ('schedule: "0 6 * * *"', ", probation: 0s", timedelta(0)),
        ('schedule: "0 6 * * *"', ", probation: 23h", timedelta(hours=23)),
    ],
)
def test_a_probation_is_filled_in_that_ends_before_the_next_release(late, schedule, probation, filled_in):
    from plugins.retraining.catalog import load_model

    assert load_model(late(schedule, probation)).spec.serving.probation == filled_in


@pytest.mark.parametrize(
    ("schedule", "probation", "problem"),
    [
        ("@hourly", "2h", "serving.probation: 2h is not shorter than the schedule's shortest interval, 1h; "),
        ("0 6 * * *", "1d", "serving.probation: 1d is not shorter than the schedule's shortest interval, 1d; "),
        ("0 8,9 * * 1-5", "90m", "serving.probation: 90m is not shorter than the schedule's shortest interval, 1h; "),
        ("0 1,23 13 * 5", "2h", "serving.probation: 2h is not shorter than the schedule's shortest interval, 2h; "),
        ("0 6 30 2 *", "2h", "schedule: '0 6 30 2 *' never fires: no such date exists"),
    ],
)
def test_a_probation_that_the_next_release_would_wait_for_is_refused(late, schedule, probation, problem):
    from contract.errors import InvalidFile
    from plugins.retraining.catalog import load_model

    with pytest.raises(InvalidFile) as refused:
        load_model(late(f'schedule: "{schedule}"', f", probation: {probation}"))

    assert [line.startswith(problem) for line in refused.value.problems] == [True]


def test_a_release_is_waited_for_through_the_probation_of_the_one_before(late):
    from plugins.retraining.catalog import load_model
    from plugins.retraining.dag import longest_wait

    none, day = (load_model(late("", f", probation: {length}")).spec for length in ("0s", "1d"))

    assert longest_wait(none) == timedelta(minutes=17, seconds=30)
    assert longest_wait(day) == timedelta(days=1, minutes=17, seconds=30)


def in_a_new_process(code: str, **variables: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def test_parsing_takes_under_a_second_of_cpu_and_imports_neither_spark_nor_mlflow(bundle):
    seconds, rest = in_a_new_process(internals.PARSE.format(path=str(bundle / "dags" / "retraining.py"))).split(" ", 1)

    assert rest == "['late', 'not_utf8', 'worse', 'wrong', 'yaml_with_tabs'] []"
    assert float(seconds) < 1


def test_a_task_process_builds_its_own_dag_only(bundle):
    output = in_a_new_process(
        internals.PARSE.format(path=str(bundle / "dags" / "retraining.py")), _AIRFLOW_PARSING_CONTEXT_DAG_ID="late"
    )

    assert output.split(" ", 1)[1] == "['late'] []"


def test_the_repository_as_a_bundle_offers_airflow_its_three_dag_files_only():
    names = ("commands.py", "maintenance.py", "retraining.py")
    assert internals.dag_files(ROOT) == [str(ROOT / "dags" / name) for name in names]


def test_the_plugins_folder_offers_airflow_no_module():
    assert internals.plugin_files(ROOT / "plugins") == []


@pytest.mark.parametrize(
    ("error", "action"),
    [
        ("contract.errors.BadData", "fail"),
        ("contract.errors.InvalidFile", "fail"),
        ("plugins.retraining.errors.Stopped", "fail"),
        ("plugins.retraining.errors.RolledBack", "fail"),
        ("plugins.retraining.errors.GivenUp", "fail"),
        ("release.ledger.ledger.LedgerBroken", "fail"),
        ("plugins.retraining.errors.EngineTrouble", "retry"),
        ("contract.errors.StoreError", "retry"),
        ("builtins.ConnectionError", "default"),
    ],
)
def test_only_what_another_try_can_mend_is_tried_again(dags, error, action):
    from airflow.sdk.module_loading import import_string

    kind = import_string(error)
    raised = kind("late.yaml", ["owner: missing"]) if error.endswith("InvalidFile") else kind("it failed")

    for task in dags["late"].tasks:
        assert task.retry_policy.evaluate(raised, try_number=1, max_tries=2).action.value == action


def test_a_poke_that_airflow_loses_does_not_fail_the_task(dags, bundle):
    tries = {task.task_id: task.retries for task in dags["late"].tasks}
    platform = platform_for(bundle / "dags" / "models" / "late.yaml")
    cluster = platform.model_copy(update={"spark": Spark(engine="yarn", python="python", hadoop_conf="/etc/hadoop")})
    far = build_dag(load_model(bundle / "dags" / "models" / "late.yaml"), cluster, FakeEngine)

    assert (tries["freeze_run"], tries["train"], tries["decide"], tries["check"], tries["release"]) == (2, 10, 2, 10, 10)
    assert [far.get_task(step).retries for step in ("validate", "train", "compare")] == [10, 10, 10]
