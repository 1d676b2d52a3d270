"""Documents: the first write wins, and reading returns the typed model."""

import pytest

from contract import documents
from contract.comparison import Verdict
from contract.documents import Failure
from contract.errors import BadData, OutOfMemory, OutOfTime, PermanentError, StoreError, TooNew
from contract.store.local import LocalStore

PATH = "runs/late/first/decide-1.json"
KEEP = Verdict(decision="keep", reason="log_loss is worse")
PROMOTE = Verdict(decision="promote", reason="log_loss is better")


@pytest.fixture
def store(tmp_path):
    return LocalStore(str(tmp_path))


def test_what_was_written_is_read_as_it_was(store):
    assert documents.write(store, PATH, KEEP) == PATH
    assert documents.read(store, PATH, Verdict) == KEEP


def test_whoever_came_first_wins(store):
    documents.write(store, PATH, KEEP)
    documents.write(store, PATH, PROMOTE)

    assert documents.read(store, PATH, Verdict) == KEEP


def test_an_absent_document_is_none_to_find_and_an_error_with_advice_to_read(store):
    assert documents.find(store, PATH, Verdict) is None
    with pytest.raises(StoreError, match=rf"^{PATH} is not in the store .*; clear the task that writes it$"):
        documents.read(store, PATH, Verdict)


def test_a_document_of_another_kind_is_refused(store):
    documents.write(store, PATH, Failure(step="train", reason="killed"))

    with pytest.raises(ValueError, match="decision"):
        documents.read(store, PATH, Verdict)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (BadData("no rows"), "data"),
        (OutOfMemory("killed"), "memory"),
        (OutOfTime("too long"), "time"),
        (PermanentError("no converter"), "permanent"),
        (TooNew("Entry", 2, 1), "permanent"),
        (StoreError("no answer"), "transient"),
        (ValueError("a bug"), "transient"),
    ],
)
def test_a_failure_says_whether_a_retry_can_help(error, cause):
    assert documents.Failure.of("train", error).cause == cause
