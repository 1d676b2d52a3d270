"""What is asked of a version before it becomes an image."""

import logging
from datetime import UTC, datetime

import pytest

from contract import documents
from contract.comparison import Verdict
from contract.documents import RunDocument
from contract.store import LocalStore
from plugins.retraining.catalog import load_entry
from plugins.retraining.delivery import package_version
from plugins.retraining.errors import Stopped
from plugins.retraining.open import Trigger, open_run
from plugins.retraining.steps import Work

DUE = datetime(2013, 6, 15, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("decision", "kind", "release", "reason"),
    [
        ("keep", "scheduled", True, "^keep: by 0.1$"),
        ("inconclusive", "scheduled", True, "^inconclusive: by 0.1$"),
        ("promote", "backfill", True, "^a backfill never releases; its verdict would be: by 0.1$"),
        ("promote", "manual", False, "^this run was asked not to release; its verdict would be: by 0.1$"),
    ],
)
def test_nothing_is_packaged_that_the_verdict_does_not_let_go_on(bundle, tmp_path, decision, kind, release, reason):
    store = LocalStore(str(tmp_path))
    trigger = Trigger("r", kind, clear_number=0, started=DUE, due=DUE, conf={}, url="")
    entry = load_entry(bundle / "dags" / "models" / "late.yaml")
    opened = open_run(*entry, trigger, {"as_of": None, "data": None, "release": release}, store)
    run = documents.read(store, opened, RunDocument)
    verdict = documents.write(store, f"{run.folder}/decide-1.json", Verdict(decision=decision, reason="by 0.1"))

    with pytest.raises(Stopped, match=reason):
        package_version(Work("package", run, store, {"decide": verdict}, 0), logging.getLogger())
