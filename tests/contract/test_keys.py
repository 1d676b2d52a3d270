"""A step's key: equal for all tries of the same work, new when the work must be done again."""

import pytest

from contract.keys import attempt_of, digest_of
from contract.store.local import LocalStore

FOLDER = "runs/late/first"


@pytest.fixture
def store(tmp_path):
    return LocalStore(str(tmp_path))


def key(store, folder=FOLDER, step="train", inputs=("validate-1.json",), clear_number=0):
    return attempt_of(store, folder, step, list(inputs), clear_number).key


def test_every_try_after_a_crash_gets_the_same_key(store):
    assert key(store) == key(store)
    assert len(key(store)) == 32


def test_other_work_gets_another_key(store, tmp_path):
    keys = [
        key(store),
        key(store, folder="runs/late/second"),
        key(store, step="compare"),
        key(store, inputs=("validate-2.json",)),
        key(store, clear_number=1),
        key(LocalStore(str(tmp_path / "elsewhere"))),
    ]

    assert len(set(keys)) == 6


def test_each_recorded_failure_gives_a_new_key_and_an_old_one_never_comes_back(store):
    seen = [key(store)]
    for _ in range(3):
        store.create(f"{FOLDER}/train-{seen[-1]}.failed.json", b"{}")
        seen.append(key(store))

    assert len(set(seen)) == 4


def test_a_failure_of_another_step_or_of_an_older_clearing_changes_nothing(store):
    before = key(store, clear_number=1)
    store.create(f"{FOLDER}/train-{key(store, clear_number=0)}.failed.json", b"{}")
    store.create(f"{FOLDER}/compare-{before}.failed.json", b"{}")

    assert key(store, clear_number=1) == before


def test_a_digest_does_not_depend_on_the_order_of_keys():
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": "1"})
