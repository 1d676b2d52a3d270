"""Those who approved a version hear what it answered to recent requests, before it meets traffic."""

from datetime import UTC, datetime

import pytest

from contract import documents
from contract.comparison import Approval, Verdict
from contract.documents import Check, Image, ReplayResult, RunDocument
from contract.store.local import LocalStore
from plugins.retraining import alerts
from plugins.retraining.catalog import load_model_and_platform
from plugins.retraining.context import TaskContext
from plugins.retraining.errors import Stopped
from plugins.retraining.freeze_run import Trigger, freeze_run
from plugins.retraining.operators.base import CheckStep
from release.ledger.entries import Outcome

DUE = datetime(2013, 6, 15, 6, tzinfo=UTC)
IMAGE = Image(model="late", version=7, as_of=DUE, digest="d", reference="r", size=1, labels={})
YES = Approval(approved=True, by="ada", at=DUE, reason="")
REPLAY = ReplayResult(
    requests=180,
    rows=1412,
    refused=2,
    changed_share=0.031,
    mean_difference=0.0123,
    largest_difference=0.2,
    p95_ms=3.14,
    p95_ms_live=2.9,
)
LINK = "http://airflow/run"


@pytest.fixture
def accept(bundle, tmp_path, inbox):
    """Gives the check this outcome, in a run whose verdict was answered so; twice, as a retry would."""
    entry, store = load_model_and_platform(bundle / "dags" / "models" / "late.yaml"), LocalStore(str(tmp_path))
    trigger = Trigger("r", "manual", clear_number=0, started=DUE, due=DUE, conf={}, url=LINK)
    opened = freeze_run(*entry, trigger, {"as_of": None, "data": None, "release": True}, store)
    run = documents.read(store, opened, RunDocument)
    step = CheckStep(task_id="check", platform=run.platform, audience=alerts.audience_of(run.spec, run.platform))

    def accepted(approval: Approval | None, replay: ReplayResult | None, passed: bool = True) -> list[str]:
        check = Check(digest="d", passed=passed, reason="within the limits", replay=replay)
        verdict = Verdict(decision="promote", reason="better", approval=approval)
        inputs = {
            "decide": documents.write(store, f"{run.folder}/decide-1.json", verdict),
            "package": documents.write(store, f"{run.folder}/package-1.json", IMAGE),
        }
        for _ in range(2):
            task = TaskContext("check", run, store, inputs, 0)
            step.accept(task, Outcome(request=task.key, kind="check", done=passed, reason="too slow", check=check))
        return inbox.slack

    return accepted


def test_who_approved_hears_the_figures_once(accept, inbox):
    assert accept(YES, REPLAY) == [
        "*late: version 7 answered recent requests*\n"
        "ada approved it; of 180 requests (1,412 rows) that the live version answers, it refuses 2, 3.1 % of the rows get a "
        "different prediction, by 0.0123 on average and 0.2 at most, its 95th percentile is 3.1 ms, the live version's 2.9 ms.\n"
        "If this is not what you expected, trigger `retraining_rollback`, which ends the release.\n"
        "http://airflow/run"
    ]
    assert len(inbox.mail) == 1


def test_that_nothing_could_be_replayed_is_notified_as_well(accept):
    text = accept(YES, ReplayResult(requests=0, rows=0, refused=0, problem="the live version has kept no request yet"))

    assert text[0].splitlines()[1] == "ada approved it; nothing could be replayed: the live version has kept no request yet."


@pytest.mark.parametrize(("approval", "replay"), [(None, REPLAY), (YES, None), (None, None)])
def test_nobody_is_notified_without_an_approval_or_a_replay(accept, approval, replay):
    assert accept(approval, replay) == []


def test_a_check_that_failed_tells_its_own_sentence_only(accept, inbox):
    with pytest.raises(Stopped, match="too slow"):
        accept(YES, REPLAY, passed=False)
    assert inbox.slack == []
