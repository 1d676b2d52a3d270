"""The servers' answers as seen over their restarts, and how far two versions' answers lie apart."""

import random
from collections import Counter

import pytest

from release.decisions.prediction_drift import Drift, add, drift, since
from release.ledger.entries import PredictionHistogram
from release.probes.prediction_counts import GrowingCounts, histogram_of
from release.targets.base import Server

NONE = PredictionHistogram()


def single(**rows: int) -> PredictionHistogram:
    """Each row was a request of its own."""
    return PredictionHistogram(rows=rows, squares=sum(rows.values()))


def server(name: str, digest: str = "new") -> Server:
    return Server(model="late", digest=digest, url="http://127.0.0.1:1", name=name)


def grown(*read: dict[Server, PredictionHistogram]) -> dict[str, PredictionHistogram]:
    counts = GrowingCounts()
    return [counts.by_digest("late", histograms) for histograms in read][-1]


def test_a_servers_page_is_read_whatever_else_is_on_it():
    page = """
# HELP serving_answers_total Rows answered, by the bin that the answer lies in.
# TYPE serving_answers_total counter
serving_answers_total{model="late",version="7",bin="0.25"} 12
serving_answers_total{model="late",version="7",bin="a \\"quoted\\" label"} 3
# TYPE serving_answers_squares_total counter
serving_answers_squares_total{model="late",version="7"} 33
serving_requests_total{model="late",version="7",endpoint="infer",code="200"} 4
"""
    assert histogram_of(page) == PredictionHistogram(rows={"0.25": 12, 'a "quoted" label': 3}, squares=33)
    assert histogram_of("serving_requests_total 4\n") == NONE


def test_the_servers_of_a_digest_are_summed():
    read = {server("new-0"): single(a=1), server("new-1"): single(a=2, b=1), server("old-0", "old"): single(b=9)}
    assert grown(read) == {"new": single(a=3, b=1), "old": single(b=9)}


def test_a_server_that_began_anew_goes_on_from_where_it_was():
    read = [{server("new-0"): spread} for spread in (single(a=9, b=5), single(a=4), single(a=5, b=9))]
    assert grown(*read) == {"new": single(a=14, b=14)}


def test_a_server_that_tells_nothing_keeps_what_it_told():
    assert grown({server("new-0"): single(a=9), server("new-1"): single(a=1)}, {server("new-1"): single(a=2)}) == {
        "new": single(a=11)
    }


def test_models_are_counted_apart():
    counts = GrowingCounts()
    counts.by_digest("late", {server("0"): single(a=9)})
    assert counts.by_digest("early", {server("0"): single(a=1)}) == {"new": single(a=1)}


def test_digests_of_long_ago_are_forgotten():
    counts = GrowingCounts()
    for number in range(20):
        counts.by_digest("late", {server("0", str(number)): single(a=number)})
    assert list(counts.by_digest("late", {})) == [str(number) for number in range(12, 20)]


@pytest.mark.parametrize(
    ("now", "before", "came"),
    [
        (single(a=5, b=1), single(a=2), single(a=3, b=1)),
        (single(a=5), single(a=5), NONE),
        (single(a=5), NONE, single(a=5)),
        (single(a=1, b=9), single(a=2), None),
        (single(b=9), single(a=2), None),
        (PredictionHistogram(rows={"a": 9}, squares=9), PredictionHistogram(rows={"a": 5}, squares=25), None),
    ],
)
def test_what_came_since_is_known_unless_the_counts_began_anew(now, before, came):
    assert since(now, before) == came
    assert came is None or add(came, before) == now


@pytest.mark.parametrize(
    ("new", "old", "share"),
    [
        (single(a=100), single(a=300), 0.0),
        (single(a=100), single(b=300), 1.0),
        (single(a=50, b=50), single(a=150, b=150), 0.0),
        (single(a=60, b=40), single(a=40, b=60), 0.2),
        (single(a=50, b=25, c=25), single(a=50, b=50), 0.25),
    ],
)
def test_share_is_what_lies_elsewhere(new, old, share):
    assert drift(new, old).share == pytest.approx(share)


@pytest.mark.parametrize(
    ("new", "old", "noise"),
    [
        # sqrt(ln(100)/2 · 1/50) = 0.2146; with p = ½ in both bins sqrt(2/π · ¼ · 1/50) = 0.0564 more
        (single(a=100), single(a=100), 0.2146),
        (single(a=50, b=50), single(a=50, b=50), 0.2710),
        # four requests of 25 rows: 1/4 + 1/100 = 0.26 in place of 1/50
        (PredictionHistogram(rows={"a": 50, "b": 50}, squares=4 * 25**2), single(a=50, b=50), 0.9772),
        (single(a=5000, b=5000), single(a=5000, b=5000), 0.0271),
    ],
)
def test_noise_shrinks_with_independent_rows(new, old, noise):
    assert drift(new, old).noise == pytest.approx(noise, abs=5e-5)


@pytest.mark.parametrize(("new", "old"), [(NONE, single(a=9)), (single(a=9), NONE), (NONE, NONE)])
def test_without_answers_nothing_can_be_told(new, old):
    assert drift(new, old) is None


FLAT, RISING = [1] * 20, list(range(1, 21))
LABELS = [1 / rank for rank in range(1, 101)]


def drawn(weights: list[float], requests: int, rows: int, chance: random.Random) -> PredictionHistogram:
    """Each request has `rows` rows, all with the same answer: as dependent as can be."""
    drawn = Counter(chance.choices([str(bin_name) for bin_name in range(len(weights))], weights, k=requests))
    return PredictionHistogram(rows={bin_name: number * rows for bin_name, number in drawn.items()}, squares=requests * rows**2)


def alarms(new: list[float], old: list[float], n: int, m: int, rows: int = 1, draws: int = 400) -> float:
    """How often more lies elsewhere than chance explains."""
    chance = random.Random(f"{n} {m} {rows}")
    drifts: list[Drift] = [drift(drawn(new, n, rows, chance), drawn(old, m, 1, chance)) for _ in range(draws)]
    return sum(drifted.share > drifted.noise for drifted in drifts) / draws


@pytest.mark.parametrize("weights", [FLAT, RISING, LABELS, [1], [99, 1]])
@pytest.mark.parametrize(("n", "m", "rows"), [(2000, 2000, 1), (300, 3000, 1), (20, 2000, 1), (5, 5, 1), (200, 2000, 50)])
def test_equal_versions_alarm_in_at_most_one_of_a_hundred_draws(weights, n, m, rows):
    assert alarms(weights, weights, n, m, rows) <= 0.01


def test_a_shift_of_a_fifth_is_found_in_two_thousand_rows():
    tenth = [0.8] * 10 + [1.2] * 10
    fifth = [0.6] * 10 + [1.4] * 10

    assert alarms(fifth, FLAT, 2000, 2000) == 1
    assert 0 < alarms(tenth, FLAT, 2000, 2000) < 1
