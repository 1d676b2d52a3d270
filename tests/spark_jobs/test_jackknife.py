"""The estimator of the gate against slow references, and its rate of false promotions."""

import math

import numpy as np
import pytest
from scipy import stats

from contract.comparison import Interval
from spark_jobs.statistics.jackknife import Blocked, Grouping, Jackknife, improvement, interval, jackknife

SIZES = np.array([120, 80, 100, 150, 90, 60, 110, 130, 95, 105, 70, 140])


def losses(seed: int, sizes: np.ndarray = SIZES) -> list[np.ndarray]:
    """Rows' losses by block, with a shift common to each block's rows."""
    rng = np.random.default_rng(seed)
    return [0.5 + 0.05 * rng.normal() + 0.3 * rng.normal(size=size) for size in sizes]


def sums(blocks: list[np.ndarray]) -> np.ndarray:
    return np.array([[len(block), block.sum()] for block in blocks])


def alone(estimate: Jackknife, rows: np.ndarray, *, in_time_order: bool, level: float = 0.025) -> Interval:
    """The interval under one grouping."""
    return interval([Blocked(estimate, Grouping(rows, in_time_order))], level)


def mean(statistics: np.ndarray) -> float:
    return statistics[1] / statistics[0]


def test_leaving_out_a_block_is_computing_the_metric_without_its_rows() -> None:
    blocks = losses(1)

    estimate = jackknife(sums(blocks), mean)

    assert estimate.value == pytest.approx(np.concatenate(blocks).mean(), abs=1e-12)
    for left_out, value in enumerate(estimate.without):
        rest = np.concatenate([block for index, block in enumerate(blocks) if index != left_out])
        assert value == pytest.approx(rest.mean(), abs=1e-12)


def test_clusters_have_the_plain_jackknife_interval_with_student_t() -> None:
    blocks = losses(2)
    whole = np.concatenate(blocks).mean()
    without = [np.concatenate(blocks[:index] + blocks[index + 1 :]).mean() for index in range(12)]
    variance = 11 / 12 * sum((value - whole) ** 2 for value in without)

    result = alone(jackknife(sums(blocks), mean), SIZES, in_time_order=False, level=0.05)

    assert result.low == pytest.approx(whole - 1.7958848187 * math.sqrt(variance), abs=1e-10)  # t(0.95; 11)
    assert result.high == pytest.approx(whole + 1.7958848187 * math.sqrt(variance), abs=1e-10)
    assert result.blocks == 12


def test_blocks_in_time_order_have_the_cosine_interval() -> None:
    blocks = losses(3)
    estimate = jackknife(sums(blocks), mean)
    pseudo = [12 * estimate.value - 11 * value for value in estimate.without]
    projections = []
    for wave in range(1, 6):  # 1.6·√12 = 5.5
        weights = [math.sqrt(2 / 12) * math.cos(math.pi * wave * (position - 0.5) / 12) for position in range(1, 13)]
        projections.append(sum(w * p for w, p in zip(weights, pseudo, strict=True)))
    standard_error = math.sqrt(sum(projection**2 for projection in projections) / 5 / 12)

    result = alone(estimate, SIZES, in_time_order=True)

    assert result.low == pytest.approx(estimate.value - 2.5705818366 * standard_error, abs=1e-10)  # t(0.975; 5)
    assert result.high == pytest.approx(estimate.value + 2.5705818366 * standard_error, abs=1e-10)


def test_equal_clusters_of_a_mean_have_the_classical_interval_of_block_means() -> None:
    blocks = losses(4, np.full(20, 50))
    means = [block.mean() for block in blocks]
    low, high = stats.t.interval(0.95, 19, np.mean(means), stats.sem(means))

    result = alone(jackknife(sums(blocks), mean), np.full(20, 50), in_time_order=False)

    assert (result.low, result.high) == pytest.approx((low, high), abs=1e-12)


def test_what_the_block_values_look_like_is_told_with_the_interval() -> None:
    values = np.array([1.0, 2, 3, 4, 5, 6, 7, 9])
    around = values - values.mean()

    result = alone(jackknife(np.column_stack([np.full(8, 10), 10 * values]), mean), np.full(8, 10), in_time_order=True)

    assert result.lag1 == pytest.approx((around[1:] * around[:-1]).sum() / (around**2).sum())
    assert result.skewness == pytest.approx((around**3).mean() / (around**2).mean() ** 1.5)
    assert (result.high - result.value) / result.standard_error == pytest.approx(2.7764451052)  # t(0.975; 4), and 1.6·√8 = 4.5
    assert (result.degrees_of_freedom, result.level) == (4, 0.025)


def crossed(seed: int, days: int, customers: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each customer once a day: day, customer and a loss with a shift of both."""
    rng = np.random.default_rng(seed)
    day, customer = (axis.ravel() for axis in np.meshgrid(np.arange(days), np.arange(customers), indexing="ij"))
    loss = rng.normal(size=days)[day] + rng.normal(size=customers)[customer] + noise * rng.normal(size=day.size)
    return day, customer, loss


def blocked(block: np.ndarray, loss: np.ndarray) -> Blocked:
    rows = np.bincount(block).astype(float)
    return Blocked(jackknife(np.column_stack([rows, np.bincount(block, loss)]), mean), Grouping(rows, False))


def two_way(day: np.ndarray, customer: np.ndarray, loss: np.ndarray) -> list[Blocked]:
    return [blocked(day, loss), blocked(customer, loss), blocked(day * (customer.max() + 1) + customer, loss)]


def test_two_ways_of_depending_have_the_variance_of_cameron_gelbach_and_miller() -> None:
    day, customer, loss = crossed(12, 15, 10)
    around = loss - loss.mean()

    def variance(block: np.ndarray) -> float:
        sums = np.bincount(block, around)
        return len(sums) / (len(sums) - 1) * (sums**2).sum() / len(loss) ** 2

    expected = variance(day) + variance(customer) - variance(day * 10 + customer)
    result = interval(two_way(day, customer, loss), 0.025)

    assert result.standard_error == pytest.approx(math.sqrt(expected), rel=1e-9)
    assert (result.blocks, result.degrees_of_freedom) == (10, 9)
    assert result.high - result.value == pytest.approx(2.2621571628 * math.sqrt(expected), rel=1e-9)  # t(0.975; 9)


def test_two_ways_are_never_surer_than_either_alone() -> None:
    day, customer, loss = crossed(13, 12, 12, noise=100.0)  # rows that hardly depend on each other: the sum may fall below
    estimates = two_way(day, customer, loss)
    errors = [interval([estimate], 0.025).standard_error for estimate in estimates[:2]]

    assert interval(estimates, 0.025).standard_error >= max(errors)


def test_one_way_is_wrong_far_too_often_where_rows_depend_in_two_ways_and_two_ways_are_not() -> None:
    days, draws = 0, 600
    both = 0
    for seed in range(draws):
        estimates = two_way(*crossed(seed, 14, 14))
        days += interval(estimates[:1], 0.025).low > 0
        both += interval(estimates, 0.025).low > 0

    assert 100 * days / draws > 6
    assert 100 * both / draws < 4.5  # 2.5 % ± 3 standard deviations of 600 draws


@pytest.mark.parametrize("in_time_order", [True, False])
def test_swapping_the_models_flips_the_sign(in_time_order: bool) -> None:
    ours, theirs = jackknife(sums(losses(5)), mean), jackknife(sums(losses(6)), mean)

    one = alone(improvement(ours, theirs, True), SIZES, in_time_order=in_time_order)
    other = alone(improvement(theirs, ours, True), SIZES, in_time_order=in_time_order)

    assert (one.value, one.low, one.high) == (-other.value, -other.high, -other.low)


def test_improvement_is_positive_for_a_lower_loss_and_for_a_higher_area() -> None:
    good, bad = Jackknife(0.2, np.full(9, 0.2), 0.2), Jackknife(0.3, np.full(9, 0.3), 0.3)

    assert improvement(good, bad, lower_is_better=True).value == pytest.approx(0.1)
    assert improvement(bad, good, lower_is_better=False).value == pytest.approx(0.1)


def test_scaling_the_loss_scales_the_interval() -> None:
    plain = jackknife(sums(losses(7)), mean)
    scaled = jackknife(sums([1e6 * block for block in losses(7)]), mean)

    one = alone(plain, SIZES, in_time_order=True)
    other = alone(scaled, SIZES, in_time_order=True)

    assert (other.low, other.high) == pytest.approx((1e6 * one.low, 1e6 * one.high), rel=1e-9)


def test_seven_blocks_are_enough_and_six_are_not() -> None:
    seven = alone(jackknife(sums(losses(8)[:7]), mean), np.full(7, 10), in_time_order=True)
    six = alone(jackknife(sums(losses(8)[:6]), mean), np.full(6, 10), in_time_order=True)

    assert seven.low < seven.value < seven.high
    assert (six.low, six.high, six.why) == (None, None, "there are 6 blocks and at least 7 are needed")
    assert six.value is not None


def test_many_blocks_of_very_unequal_size_do_not_count_as_many() -> None:
    sizes = np.array([1000, 1000, *[10] * 20])  # (2,200)² / (2·1,000² + 20·10²) = 2.4

    result = alone(jackknife(sums(losses(9, sizes)), mean), sizes, in_time_order=True)

    assert result.low is None
    assert result.why == "22 blocks of such unequal size count as 2.4 and at least 7 are needed"


def test_two_equal_models_have_no_interval() -> None:
    one = jackknife(sums(losses(10)), mean)

    result = alone(improvement(one, one, True), SIZES, in_time_order=True)

    assert (result.value, result.low, result.why) == (0.0, None, "it does not vary between blocks")


def test_a_difference_of_rounding_only_is_no_variance() -> None:
    rng = np.random.default_rng(11)
    one = jackknife(sums(losses(11)), mean)
    other = Jackknife(one.value, one.without * (1 + 1e-15 * rng.normal(size=12)), one.scale)

    result = alone(improvement(one, other, True), SIZES, in_time_order=False)

    assert (result.low, result.why) == (None, "it does not vary between blocks")


def test_a_series_that_the_cosines_do_not_see_has_zero_variance() -> None:
    """Weights of the waves that are used, put together from the one after them: every projection is zero."""
    unseen = np.cos(np.pi * 6 * (np.arange(12) + 0.5) / 12)
    estimate = Jackknife(1.0, 1.0 - unseen / 11, 1.0)

    result = alone(estimate, SIZES, in_time_order=True)

    assert (result.low, result.why) == (None, "its variance is zero")


@pytest.mark.parametrize(
    ("value", "spoilt", "why"),
    [
        (math.nan, 0.1, "it is undefined on these rows"),
        (math.inf, 0.1, "it is undefined on these rows"),
        (0.1, math.nan, "it is undefined without one of the blocks"),
        (0.1, math.inf, "it is undefined without one of the blocks"),
    ],
)
def test_what_is_no_number_has_no_interval(value: float, spoilt: float, why: str) -> None:
    without = np.linspace(0.1, 0.2, 12)
    without[5] = spoilt

    result = alone(Jackknife(value, without, 0.1), SIZES, in_time_order=False)

    assert (result.low, result.high, result.why) == (None, None, why)


DRAWS = 4000


@pytest.mark.parametrize(
    ("in_time_order", "blocks", "unequal", "correlation", "lowest", "highest"),
    [
        # 2.5 % ± 4 standard deviations of the count of 4,000 draws (±1.0 %); with the normal's 1.96 instead of Student's t,
        # 10 blocks would give 4.1 % (9 degrees of freedom) and 5.4 % (5).
        (False, 10, False, 0.0, 1.5, 3.5),
        (False, 30, True, 0.0, 1.5, 3.5),
        (True, 10, False, 0.0, 1.5, 3.5),
        (True, 30, True, 0.0, 1.5, 3.5),
        # Neighbours correlated 0.3: cosines lose little (published 3.2 %), where independent blocks would give 7.5 %.
        (True, 30, False, 0.3, 2.0, 4.4),
        (False, 30, False, 0.3, 6.0, 9.0),
    ],
)
def test_an_improvement_of_zero_is_rarely_shown_as_positive(
    in_time_order: bool, blocks: int, unequal: bool, correlation: float, lowest: float, highest: float
) -> None:
    rng = np.random.default_rng(20130601)
    promoted = 0
    for _ in range(DRAWS):
        sizes = rng.integers(50, 150, blocks) if unequal else np.full(blocks, 100)
        noise = rng.normal(size=blocks)
        for position in range(1, blocks):
            noise[position] = correlation * noise[position - 1] + math.sqrt(1 - correlation**2) * noise[position]
        statistics = np.column_stack([sizes, sizes * noise])
        result = alone(jackknife(statistics, mean), sizes, in_time_order=in_time_order)
        promoted += result.low > 0

    assert lowest <= 100 * promoted / DRAWS <= highest
