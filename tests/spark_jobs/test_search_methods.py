"""Random search, successive halving, the limits of a search, and what a killed one goes on from."""

from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from contract import documents
from contract.documents import SearchRecord
from contract.errors import BadData
from contract.search import Distribution
from contract.spec import ModelSpec
from contract.store.local import LocalStore
from spark_jobs.training.candidates import draws, plans_of
from spark_jobs.training.search import shares_of
from spark_jobs.training.spans import newest
from tests.spark_jobs.searches import FILES, rows_by_second, search, search_with
from tests.spark_jobs.test_search import rows, spec_with

__all__ = ["rows"]
LOGISTIC = "logistic_regression"
SPACE = {
    "learning_rate": Distribution(low=0.01, high=1, log=True),
    "max_depth": Distribution(low=2, high=5),
    "min_child_weight": Distribution(low=1, high=3),
    "grow_policy": ("depthwise", "lossguide"),
}


def test_draws_lie_within_their_distributions_and_are_the_same_for_a_seed() -> None:
    drawn = draws(SPACE, "xgboost_classifier", 400, seed=1)

    assert drawn == draws(SPACE, "xgboost_classifier", 400, seed=1) != draws(SPACE, "xgboost_classifier", 400, seed=2)
    assert len(drawn) == 400
    assert {params["max_depth"] for params in drawn} == {2, 3, 4, 5}
    assert all(type(params["max_depth"]) is int and isinstance(params["min_child_weight"], float) for params in drawn)
    assert {params["grow_policy"] for params in drawn} == {"depthwise", "lossguide"}
    assert all(0.01 <= params["learning_rate"] <= 1 and 1 <= params["min_child_weight"] <= 3 for params in drawn)
    assert 160 < sum(params["learning_rate"] < 0.1 for params in drawn) < 240  # half of the logarithms
    for depth in (2, 3, 4, 5):
        assert 60 < sum(params["max_depth"] == depth for params in drawn) < 140


@pytest.mark.parametrize(("count", "drawn"), [(3, 3), (6, 6), (20, 6)])
def test_no_candidate_is_drawn_twice(count: int, drawn: int) -> None:
    space = {"max_depth": Distribution(low=2, high=4), "grow_policy": ("depthwise", "lossguide")}

    candidates = draws(space, "xgboost_classifier", count, seed=1)

    assert len(candidates) == len({tuple(params.values()) for params in candidates}) == drawn


def test_lengths_in_a_list_are_scored_with_each_draw_and_count_once() -> None:
    space = {"stepSize": {"low": 0.1, "high": 0.5}, "maxIter": [10, 5]}
    plans = plans_of(spec_with({"name": "gbt_classifier", "search": {"random": space, "max_candidates": 3}}), levels=0, seed=1)

    assert [(plan.params["maxIter"], plan.lengths) for plan in plans] == [(10, (5, 10))] * 3


@pytest.mark.parametrize(
    ("candidates", "rows", "shares"),
    [
        (1, 90_000, [1]),
        (3, 90_000, [1]),
        (4, 90_000, [1 / 3, 1]),
        (9, 90_000, [1 / 3, 1]),
        (27, 90_000, [1 / 9, 1 / 3, 1]),
        (28, 90_000, [1 / 27, 1 / 9, 1 / 3, 1]),
        (28, 10_000, [1 / 9, 1 / 3, 1]),  # a 27th has less than 1,000 rows
        (28, 2_999, [1]),
    ],
)
def test_a_third_of_the_candidates_goes_on_to_three_times_the_rows(candidates: int, rows: int, shares: list[float]) -> None:
    assert shares_of(candidates, rows) == shares


def test_the_newest_rows_are_kept(rows: DataFrame) -> None:
    kept = {
        share: {int(row.id) for row in newest(rows, spec_with({"name": LOGISTIC}), share).collect()} for share in (1, 1 / 3, 0.1)
    }

    assert kept[1] == set(range(100))
    assert kept[1 / 3] == set(range(66, 100))
    assert kept[0.1] == set(range(89, 100))


def test_without_time_a_smaller_share_is_a_part_of_a_larger_one(rows: DataFrame) -> None:
    spec = spec_with({"name": LOGISTIC}, timed=False)
    half, third = ({row.id for row in newest(rows, spec, share).collect()} for share in (0.5, 1 / 3))

    assert third < half
    assert 15 <= len(third) < len(half) <= 70


@pytest.fixture(scope="module")
def many(spark: SparkSession) -> DataFrame:
    return rows_by_second(spark)


def halving(count: int) -> ModelSpec:
    space = {"regParam": {"low": 0.0001, "high": 10, "log": True}, "maxIter": [3, 20]}
    return spec_with({"name": LOGISTIC, "search": {"halving": space, "max_candidates": count}})


def test_halving_fits_all_candidates_on_few_rows_and_few_on_all(many: DataFrame) -> None:
    tried = search(many, halving(9), [0, 1])

    assert [candidate.share for candidate in tried] == [1] * 3 + [1 / 3] * 9
    on_all, on_third = tried[:3], tried[3:]
    assert [candidate.score for candidate in on_all] == sorted(candidate.score for candidate in on_all)
    assert {str(candidate.params) for candidate in on_all} == {str(candidate.params) for candidate in on_third[:3]}
    whole = spec_with({"name": LOGISTIC, "search": {"random": halving(9).algorithm.search.space, "max_candidates": 9}})
    assert search(many, whole, [0, 1])[0].params == tried[0].params  # the same nine, each on all rows


def test_a_killed_search_goes_on_from_what_has_ended(many: DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    store = LocalStore(str(tmp_path))
    first = search_with(store, many, halving(9), [0, 1])
    for number in (4, 8, sorted(recorded(store))[-1]):  # did not end
        (tmp_path / FILES.beside(f"candidate-{number}")).unlink()
    capsys.readouterr()

    second = search_with(store, many, halving(9), [0, 1])

    assert [(one.params, one.score, one.share) for one in second] == [(one.params, one.score, one.share) for one in first]
    said = capsys.readouterr().out
    assert said.count(": log_loss 0.") == 3
    assert "9 fits of the search were made by an earlier attempt" in said


def recorded(store: LocalStore) -> set[int]:
    return {int(name.split("-")[-1].removesuffix(".json")) for name in store.names(FILES.folder)}


def test_what_another_search_recorded_is_not_taken_over(rows: DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    store = LocalStore(str(tmp_path))
    search_with(store, rows, grid([0.0, 1.0, 5.0]), [0, 1])

    tried = search_with(store, rows, grid([0.5, 0.0]), [0, 1])

    assert {candidate.params["regParam"] for candidate in tried} == {0.0, 0.5}
    assert tried[0].score == search(rows, grid([0.5, 0.0]), [0, 1])[0].score
    assert "3 recorded fits belong to another search and are not taken over" in capsys.readouterr().out


def grid(values: list[float], **limits: float) -> ModelSpec:
    return spec_with({"name": LOGISTIC, "search": {"grid": {"regParam": values}, **limits}})


def test_no_candidate_begins_after_max_minutes(rows: DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Two of four had ended when the earlier attempt was killed, the second with the limit."""
    spec, store = grid([0.0, 0.5, 1.0, 5.0], max_minutes=1), LocalStore(str(tmp_path))
    whole = search_with(LocalStore(str(tmp_path / "whole")), rows, spec, [0, 1])
    for number, elapsed in ((0, 20.0), (2, 60.0)):
        record = documents.read(LocalStore(str(tmp_path / "whole")), FILES.beside(f"candidate-{number}"), SearchRecord)
        documents.write(store, FILES.beside(f"candidate-{number}"), record.model_copy(update={"elapsed": elapsed}))

    tried = search_with(store, rows, spec, [0, 1])

    assert {candidate.params["regParam"] for candidate in tried} == {0.0, 1.0}
    assert tried == tuple(candidate for candidate in whole if candidate.params["regParam"] in (0.0, 1.0))
    assert "max_minutes ended the search after 2 of 4 fits on 100% of the rows" in capsys.readouterr().out


def test_max_minutes_too_short_for_one_candidate_are_told(rows: DataFrame) -> None:
    with pytest.raises(BadData, match=r"no candidate of the search ended within max_minutes \(1e-05\), the first took \d"):
        search(rows, grid([0.0, 0.5], max_minutes=0.00001), [0, 1])
