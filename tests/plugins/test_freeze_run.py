"""What `open` freezes."""

import shutil
from datetime import UTC, datetime

import pytest

from contract.documents import RunDocument, read
from contract.store.local import LocalStore
from plugins.retraining.catalog import load_model_and_platform
from plugins.retraining.errors import InvalidParam
from plugins.retraining.freeze_run import BUNDLE, PACKAGES, Trigger, code_hash, freeze_run, parse_as_of

DUE = datetime(2013, 6, 15, 6, tzinfo=UTC)
NONE_GIVEN = {"as_of": None, "data": None, "release": True}


@pytest.fixture
def entry(bundle):
    return load_model_and_platform(bundle / "dags" / "models" / "late.yaml")


@pytest.fixture
def store(tmp_path):
    return LocalStore(str(tmp_path))


def opened(entry, store, params=NONE_GIVEN, **trigger) -> RunDocument:
    fields = {"run_id": "r", "run_type": "scheduled", "clear_number": 0, "started": DUE, "due": DUE, "conf": {}, "url": "http://r"}
    return read(store, freeze_run(*entry, Trigger(**{**fields, **trigger}), params, store), RunDocument)


def test_a_run_without_params_is_as_of_its_due_time_and_has_spec_sql_and_suites(entry, store):
    run = opened(entry, store)

    assert (run.as_of, run.backfill, run.release, run.champion) == (DUE, False, True, None)
    assert run.spec == entry[0].spec
    assert run.sql == "SELECT parcel_id, sent, late, weight, depot FROM parcels\n"
    assert run.suites == {"parcels": {"name": "parcels", "expectations": []}}


def test_a_retry_reads_what_is_there_and_another_clearing_opens_anew(entry, store):
    first = opened(entry, store)
    later = datetime(2014, 1, 1, tzinfo=UTC)

    assert opened(entry, store, due=later) == first
    assert opened(entry, store, due=later, clear_number=1).as_of == later
    assert store.names(first.folder) == ["run-0.json", "run-1.json"]


def test_a_run_that_was_deleted_and_made_again_under_its_id_takes_up_nothing(entry, store):
    first = opened(entry, store)
    later = datetime(2014, 1, 1, tzinfo=UTC)

    second = opened(entry, store, started=later, due=later)

    assert (second.as_of, second.started) == (later, later)
    assert second.folder != first.folder


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2013-06-01", datetime(2013, 6, 1, tzinfo=UTC)),
        ("2013-06-01T12:00:00", datetime(2013, 6, 1, 12, tzinfo=UTC)),
        ("2013-06-01T12:00:00Z", datetime(2013, 6, 1, 12, tzinfo=UTC)),
        ("2013-06-01T12:00:00+02:00", datetime(2013, 6, 1, 10, tzinfo=UTC)),
    ],
)
def test_times_are_utc(text, moment):
    assert parse_as_of(text) == moment


def test_an_invalid_time_is_reported(entry, store):
    with pytest.raises(InvalidParam, match=r"^as_of: 'yesterday' is not a time; write one such as 2013-06-01T00:00:00\+00:00$"):
        opened(entry, store, params={**NONE_GIVEN, "as_of": "yesterday"})


def test_a_time_that_has_not_been_is_refused():
    """A model without time would train as if nothing were wrong, and no later run could replace it before that day."""
    with pytest.raises(InvalidParam, match=r"^as_of: 2113-06-01 is in the future; write a past time$"):
        parse_as_of("2113-06-01")


def test_a_what_if_run_reads_below_another_root(entry, store):
    assert opened(entry, store, params={**NONE_GIVEN, "data": "/other/data"}).platform.data == "/other/data"


@pytest.fixture
def copy_of_the_rooms(tmp_path):
    for package in PACKAGES:
        shutil.copytree(BUNDLE / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_code_hash_is_the_same_in_every_checkout_and_follows_code_sql_and_suites(entry, copy_of_the_rooms):
    model = entry[0]
    before = code_hash(BUNDLE, model)
    same = code_hash(copy_of_the_rooms, model)
    (copy_of_the_rooms / "spark_jobs" / "notes.txt").write_text("not code")
    still_same = code_hash(copy_of_the_rooms, model)
    (copy_of_the_rooms / "contract" / "keys.py").write_text("changed")

    assert before == same == still_same
    assert len({before, code_hash(copy_of_the_rooms, model), code_hash(BUNDLE, type(model)(model.spec, "SELECT 1", {}))}) == 3
