"""The router's counters as seen over its restarts and over services that left its file."""

from release.ledger.entries import Traffic
from release.routing.counters import Counters


def counted(requests: int, errors: int = 0, fast: int = 0) -> Traffic:
    return Traffic(requests=requests, errors=errors, latency=((0.1, fast), (1.0, requests - errors)))


def grown(*turns: dict[str, Traffic]) -> dict[str, Traffic]:
    counters = Counters()
    return [counters.grown("late", counts) for counts in turns][-1]


def test_what_is_told_is_given_on_while_it_grows():
    assert grown({"new": counted(3)}, {"new": counted(5, errors=1)}) == {"new": counted(5, errors=1)}


def test_a_digest_that_is_told_of_no_more_keeps_its_counts():
    assert grown({"old": counted(9), "new": counted(1)}, {"new": counted(4)}) == {"old": counted(9), "new": counted(4)}


def test_counts_of_a_router_that_began_anew_are_added_to_those_before():
    turns = grown(
        {"new": counted(9, errors=2, fast=5)}, {"new": counted(4, errors=1, fast=3)}, {"new": counted(6, errors=1, fast=4)}
    )
    assert turns == {"new": counted(15, errors=3, fast=9)}


def test_a_digest_without_right_answers_has_no_latencies_yet():
    failing = Traffic(requests=5, errors=5)
    assert grown({"new": failing}, {"new": counted(2, fast=1)})["new"].latency == ((0.1, 1), (1.0, 2))


def test_models_are_counted_apart():
    counters = Counters()
    counters.grown("late", {"same": counted(9)})
    assert counters.grown("early", {"same": counted(1)}) == {"same": counted(1)}


def test_digests_of_long_ago_are_forgotten():
    counters = Counters()
    for number in range(20):
        counters.grown("late", {str(number): counted(number)})
    assert list(counters.grown("late", {})) == [str(number) for number in range(12, 20)]
